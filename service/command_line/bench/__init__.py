"""Benchmark: what a case costs on this machine, measured over HTTP, beside networks of the paper's size."""
