"""Segmentation: prepared slices in, fused tumour masks and scores out; part of the core, without web code."""
