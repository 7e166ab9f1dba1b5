"""Benchmarks: prefork beside its peers, on this machine, in one run."""
