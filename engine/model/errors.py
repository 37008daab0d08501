"""The error of a model folder that cannot be run."""

from __future__ import annotations

SHOWN_CHARACTERS = 80


class ModelError(ValueError):
    """A model folder that cannot be run: one line that says what is wrong, with the value, and what to do."""


def shown(value: object) -> str:
    """A value from an untrusted file as part of a message: plain ASCII, and short."""
    text = ascii(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."
