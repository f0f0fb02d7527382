"""Stages 1 and 2: songs checked, stored and cut; what training may read of them."""
