"""Benchmarks against stated limits."""
