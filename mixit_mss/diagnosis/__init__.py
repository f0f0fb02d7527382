"""What outputs hold: over-separation, collapse, and how correlated the sources are."""
