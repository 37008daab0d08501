"""Numbers on the command line, refused in words that repeat what was written."""

from __future__ import annotations

import typer

MOST = (1 << 63) - 1  # what a session file's integers hold


def whole(text: str | int) -> int:
    """`text` as an integer of at most 63 bits."""
    try:
        number = int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number") from None
    if abs(number) > MOST:
        raise typer.BadParameter(f"{text} is too large a number")
    return number


def real(text: str | float) -> float:
    """`text` as a decimal number; infinities and not-a-number are for the option to refuse."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None
