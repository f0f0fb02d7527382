"""Save, open and check model folders and published networks."""

from mixit_mss.models.hub.folder import load_model, read_card, save_model
from mixit_mss.models.hub.published import import_official

__all__ = ["import_official", "load_model", "read_card", "save_model"]
