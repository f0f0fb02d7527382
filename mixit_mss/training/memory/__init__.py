"""The memory of a training step: counted, measured, and the batch size that fits."""
