"""The segmentation networks: architecture, number formats, model cards and checkpoint files; part of the pure core."""
