"""Weights and caches in fewer bits: formats, methods, and the checkpoints that others made."""
