"""The segmentation networks: architecture, data types, model cards and checkpoints; part of the core, no web code."""
