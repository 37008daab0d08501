"""Text measured in terminal cells: made harmless, cut, padded and split so that widths always add up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from rich.cells import cell_len, get_character_cell_size, set_cell_size

Align = Literal["left", "right", "center"]

# Control, bidi, joiner, variation-selector, tag, noncharacter and surrogate code points: each would move the
# cursor, reorder the line, change its neighbours' width, or fail to encode. Panes get sanitised text; this is
# the last door.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_STAND_IN = "·"


def safe(text: str) -> str:
    """Return `text` with every character that could disturb the line replaced by one visible cell."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_STAND_IN, text)


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """Return safe `text` in at most `width` cells, its end replaced by `ellipsis` when it is longer."""
    text = safe(text)
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return ellipsis[:width]
    return set_cell_size(text, width - 1) + ellipsis


def fit(text: str, width: int, align: Align = "left", ellipsis: str = "…") -> str:
    """Return safe `text` in exactly `width` cells."""
    text = cut(text, width, ellipsis)
    missing = width - cell_len(text)
    left = {"left": 0, "right": missing, "center": missing // 2}[align]
    return " " * left + text + " " * (missing - left)


def chunks(text: str, first: int, width: int) -> Iterator[str]:
    """Split safe `text` into pieces of at most `first` cells, then `width` each, never inside a character."""
    start, used, room = 0, 0, first
    for index, character in enumerate(text):
        size = get_character_cell_size(character)
        if used + size > room and index > start:
            yield text[start:index]
            start, used, room = index, 0, width
        elif used + size > room and room < width:
            yield ""
            room = width
        used += size
    yield text[start:]


__all__ = ["Align", "cell_len", "chunks", "cut", "fit", "safe"]
