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
    "-": "–—─━", "|": "│┃", "+": "╭╮╰╯┌┐└┘├┤", "x": "×", "=": "≈", "$": "⏎␊", ">": "≥→▶", "<": "≤←",
    "^": "↑▲", "v": "↓▼", "*": "●", ".": "·…", "[": "⟨", "]": "⟩", '"': "“”", "'": "‘’", "#": "▁▂▃▄▅▆▇█▀",
}  # fmt: skip
_TABLE = {ord(mark): plain for plain, marks in _MARKS.items() for mark in marks}


class AsciiMarks(LineFilter):
    """Replaces marks in every segment; widths stay."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002
        return [
            segment if segment.text.isascii() else Segment(segment.text.translate(_TABLE), segment.style)
            for segment in segments
        ]


__all__ = ["AsciiMarks"]
