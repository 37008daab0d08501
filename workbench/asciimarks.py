"""The last door to a terminal without Unicode: typographic marks and borders become ASCII, cell for cell.

Panes draw with the ASCII glyph set already; this is for marks inside sentences, and for borders. Foreign text
in other scripts is left as it is: it is what the model said. "Recomputed" (≈) must not become the mark of
"approximated" (~), so it is =.
"""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_MARKS = {
    "-": "–—─━▔", "|": "│┃▌▐▏▎▕", "+": "╭╮╰╯┌┐└┘├┤", "x": "×✗", "=": "≈", "$": "⏎␊", ">": "→▶▸", "<": "←⌫",
    "?": "≥≤", "^": "↑▲", "v": "↓▼▾", "*": "●", ".": "·…", "[": "⟨", "]": "⟩", '"': "“”", "'": "‘’",
    "#": "▁▂▃▄▅▆▇█▀",
}  # fmt: skip
_PAIRS = (("≥ ", ">="), ("≤ ", "<="))
"""In a sentence the space after an inequality gives its cell, so that it still says "or equal"."""
_TABLE = {ord(mark): plain for plain, marks in _MARKS.items() for mark in marks}


class AsciiMarks(LineFilter):
    """Replaces marks in every segment; widths stay."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002
        return [
            segment if segment.text.isascii() else Segment(plain(segment.text), segment.style)
            for segment in segments
        ]


def plain(text: str) -> str:
    """`text` with every mark in ASCII, as wide as it was."""
    for marks, ascii_marks in _PAIRS:
        text = text.replace(marks, ascii_marks)
    return text.translate(_TABLE)


__all__ = ["AsciiMarks"]
