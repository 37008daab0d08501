"""Which panes about drafts there is room for, and what takes turns where there is none."""

from __future__ import annotations

from typing import Literal

from textual.geometry import Size

Face = Literal["drafts", "ledger", "rates"]

WIDE, TALL = 110, 26
NARROW: dict[Face, tuple[str, ...]] = {
    "drafts": ("facts", "lanes"),
    "ledger": ("ledger", "draw", "residual"),
    "rates": ("places", "course"),
}
EVERYTHING = ("facts", "lanes", "ledger", "draw", "residual", "places", "course")
LEFT = ("lanes", "places", "course")
RIGHT = ("ledger", "draw", "residual")


def faces(size: Size) -> tuple[Face, ...]:
    """What takes turns in a view of this size."""
    return ("drafts", "ledger", "rates") if size.width < WIDE or size.height < TALL else ("drafts",)


def shown(size: Size, face: Face) -> tuple[str, ...]:
    """The panes on the screen, by the end of their ids."""
    return NARROW[face] if len(faces(size)) > 1 else EVERYTHING


__all__ = ["LEFT", "RIGHT", "Face", "faces", "shown"]
