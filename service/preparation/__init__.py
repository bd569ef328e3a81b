"""Preparation of raw series for the networks: registration to one of them, and the mask of the brain."""
