"""Benchmarks: how fast parts of the system are, beside the usual way and beside a lower bound."""
