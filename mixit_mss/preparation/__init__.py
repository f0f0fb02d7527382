"""Stages 1 and 2: check, store and segment songs, and list what training may read."""
