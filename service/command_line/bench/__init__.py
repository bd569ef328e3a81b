"""Benchmark: what a case costs on this machine, measured over HTTP, compared with networks of the paper's size."""
