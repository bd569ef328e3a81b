"""Train, evaluate and quantise the networks that the service runs, on the service's own segmentation core."""
