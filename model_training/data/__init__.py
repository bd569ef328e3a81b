"""Training data: the slice cache, the split into training, validation and test, and the slices of an epoch."""
