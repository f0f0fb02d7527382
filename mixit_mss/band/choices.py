"""Options of the songs; importable without numpy."""

LEVELS = ("independent", "tempo", "band", "locked", "unison", "doubled")
"""How much the parts of a song share, in ascending order."""

MIXED = "mixed"
PARTS_CHOICES = (MIXED, "1", "2", "3", "4")
"""Number of stems in an unlabelled song."""
