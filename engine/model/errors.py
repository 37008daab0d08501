"""The error of a model folder that cannot be run."""

from __future__ import annotations


class ModelError(ValueError):
    """A model folder that cannot be run: one line that says what is wrong, with the value, and what to do."""
