"""Stage 6: uSDR, cSDR and oracles, song by song."""
