"""The error of a setting that cannot be used."""

from __future__ import annotations


class OptionError(ValueError):
    """A setting that cannot be used: the message names it, its value and what is allowed."""
