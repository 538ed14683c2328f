"""Measurements beside named peers.

Each module is a command that writes one file under `benchmarks/results`.
"""
