"""Volumes on their grids: NIfTI files, cases, labels, resampling, normalisation; part of the core, no web code."""
