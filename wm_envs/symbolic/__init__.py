"""Symbolic sequence tasks.

Discrete symbols and a deterministic rule that gives the consequences.
"""
