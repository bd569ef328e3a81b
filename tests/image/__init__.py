"""Checks of the container image."""
