"""Volumes on their grids: NIfTI files, cases, labels, resampling, normalisation; part of the pure core."""
