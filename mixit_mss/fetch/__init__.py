"""Stage 0: downloads that go on where they stopped, checksums, safe extraction."""
