"""Options of the songs; importable without numpy."""

LEVELS = ("independent", "tempo", "band", "locked", "unison", "doubled")
"""How much the parts of a song share, from nothing to everything."""

MIXED = "mixed"
PARTS_CHOICES = (MIXED, "1", "2", "3", "4")
"""How many stems play in an unlabelled song."""
