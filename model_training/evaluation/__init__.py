"""Evaluation of trained networks, and reports about it."""
