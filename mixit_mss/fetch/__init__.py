"""Stage 0: resumable downloads, checksums, safe extraction."""
