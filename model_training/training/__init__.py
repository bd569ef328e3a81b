"""Training of networks: the story is in `train`."""
