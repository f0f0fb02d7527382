"""Stage 0: resumable downloads, checksums and safe extraction."""
