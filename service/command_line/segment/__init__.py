"""Segments many cases, with a running service or in this process."""
