"""Lines of inked pieces: what models hand to tables, trees and text panes instead of markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment

from workbench.widgets.bars import bar_text
from workbench.widgets.cells import Align, cell_len, cut, safe
from workbench.widgets.inks import Brush, Ink


@dataclass(frozen=True, slots=True)
class Span:
    """Text in one ink."""

    text: str
    ink: Ink = "text"


@dataclass(frozen=True, slots=True)
class Bar:
    """A horizontal bar of `fraction` of `width` cells; width 0 takes all the room that is left."""

    fraction: float
    ink: Ink = "accent"
    width: int = 0


Piece = str | Span | Bar
Line = Piece | Sequence[Piece]


def pieces(line: Line) -> Sequence[Piece]:
    """Return a line's pieces, whichever way it was written."""
    return (line,) if isinstance(line, (str, Span, Bar)) else line


def plain(line: Line) -> str:
    """Return the text of a line, bars left out."""
    shown = (piece for piece in pieces(line) if not isinstance(piece, Bar))
    return safe("".join(piece.text if isinstance(piece, Span) else piece for piece in shown))


def lay(line: Line, width: int, brush: Brush, align: Align = "left") -> list[Segment]:
    """Return `line` as segments of exactly `width` cells."""
    segments: list[Segment] = []
    left = width
    for piece in pieces(line):
        if left <= 0:
            break
        segment = _draw(piece, left, brush)
        segments.append(segment)
        left -= cell_len(segment.text)
    return _align(segments, left, brush, align)


def _draw(piece: Piece, room: int, brush: Brush) -> Segment:
    if isinstance(piece, Bar):
        width = min(room, piece.width or room)
        return brush.segment(bar_text(piece.fraction, width, brush.glyphs), piece.ink)
    span = Span(piece) if isinstance(piece, str) else piece
    return brush.segment(cut(span.text, room, brush.glyphs.ellipsis), span.ink)


def _align(segments: list[Segment], missing: int, brush: Brush, align: Align) -> list[Segment]:
    if missing <= 0:
        return segments
    before = {"left": 0, "right": missing, "center": missing // 2}[align]
    padded = [brush.segment(" " * before), *segments] if before else segments
    return [*padded, brush.segment(" " * (missing - before))] if missing > before else padded
