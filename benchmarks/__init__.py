"""Measurements beside named peers; each module is a command that writes one file under `benchmarks/results`."""
