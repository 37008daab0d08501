"""Inked lines broken at spaces to a width in cells."""

from __future__ import annotations

from collections.abc import Iterator

from workbench.widgets.cells import cell_len, chunks, safe
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Bar, Line, Span, pieces


def wrap(line: Line, width: int, indent: int = 0) -> list[list[Span]]:
    """Return `line` as lines of at most `width` cells, later ones indented; bars in it are left out."""
    width = max(1, width)
    indent = min(indent, width // 2)
    lines: list[list[Span]] = [[]]
    used = 0
    for word, ink in _words(line):
        size = cell_len(word)
        if used + size > width and used > (indent if len(lines) > 1 else 0):
            lines.append([Span(" " * indent)] if indent else [])
            used, word = indent, word.lstrip(" ")
            size = cell_len(word)
        for number, part in enumerate(chunks(word, max(1, width - used), max(1, width - indent))):
            if number:
                lines.append([Span(" " * indent)] if indent else [])
                used = indent
            lines[-1].append(Span(part, ink))
            used += cell_len(part)
    return lines


def _words(line: Line) -> Iterator[tuple[str, Ink]]:
    """Yield words with the spaces before them, each with its ink."""
    for piece in pieces(line):
        if isinstance(piece, Bar):
            continue
        span = Span(piece) if isinstance(piece, str) else piece
        text, start = safe(span.text), 0
        for index in range(1, len(text)):
            if text[index] == " " and text[index - 1] != " ":
                yield text[start:index], span.ink
                start = index
        if text:
            yield text[start:], span.ink
