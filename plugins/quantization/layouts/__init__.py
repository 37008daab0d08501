"""Checkpoints that others quantized: what their tensors are called, and what they stand for.

Each module is an entry point of the group `workbench.layouts` and imports no torch; `unpack` does, when a model
is loaded.
"""
