"""Stage 4: which outputs of a pre-trained network become stems, by permutation votes."""
