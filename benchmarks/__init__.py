"""What is timed here, side by side with what one would use instead: ``python -m benchmarks.NAME``."""
