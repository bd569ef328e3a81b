"""Fuzzing of the upload readers and of a running service."""
