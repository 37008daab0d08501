"""What can be wrong with a tokenizer or a chat template."""

from __future__ import annotations

__all__ = ["TextError"]


class TextError(ValueError):
    """A tokenizer or chat template that is missing or cannot be used: one line that says which and why."""
