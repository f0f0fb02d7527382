"""Diagnose outputs: over-separation, collapse, and how correlated the sources are."""
