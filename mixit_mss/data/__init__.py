"""From songs on disk to training examples: reading, segmenting, listing, mixing."""
