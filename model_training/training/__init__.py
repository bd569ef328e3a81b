"""Training of networks; start reading in `train`."""
