"""Symbolic sequence tasks: discrete symbols and a deterministic rule that gives the consequences."""
