"""Separating songs, choosing output channels, and scoring estimates against references."""
