"""Training data: manifests of songs on disk, and the examples drawn from them."""
