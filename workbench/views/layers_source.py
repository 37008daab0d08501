"""The lines of our own source that a stage took, as paragraphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.stage_report import Source
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.spans import Line, Span

AROUND = 60
"""Lines shown before and after those that ran, of a long function."""


class Shown(NamedTuple):
    """Paragraphs, and which of them stand for the innermost lines that ran."""

    lines: list[Line]
    first: int
    last: int


def source_lines(sources: Sequence[Source], glyphs: Glyphs) -> Shown:
    """The functions from the outermost to the innermost."""
    lines: list[Line] = []
    for source in sources[:-1]:
        lines += [_title(source), *_numbered(source, source.first, source.last, glyphs)]
    ran = 0, 0
    for source in sources[-1:]:
        lines.append(_title(source))
        first = max(source.start, source.first - AROUND)
        stop = min(source.start + len(source.text) - 1, source.last + AROUND)
        ran = len(lines) + source.first - first, len(lines) + source.last - first
        lines += _numbered(source, first, stop, glyphs)
    return Shown(lines, *ran)


def source_title(sources: Sequence[Source]) -> str:
    """`engine/model/layer.py:62–63`"""
    if not sources:
        return "source"
    inner = sources[-1]
    return (
        f"{inner.file}:{inner.first}–{inner.last}" if inner.first != inner.last else f"{inner.file}:{inner.last}"
    )


def _title(source: Source) -> Line:
    return [Span(f"{source.file}  ", "dim"), Span(source.function, "title")]


def _numbered(source: Source, first: int, stop: int, glyphs: Glyphs) -> list[Line]:
    return [_numbered_line(source, line, glyphs) for line in range(first, stop + 1) if _has(source, line)]


def _indent(source: Source) -> int:
    """Of the whole function: a method's lines stand further left here."""
    return len(source.text[0]) - len(source.text[0].lstrip())


def _has(source: Source, line: int) -> bool:
    return 0 <= line - source.start < len(source.text)


def _numbered_line(source: Source, line: int, glyphs: Glyphs) -> Line:
    text, ran = source.text[line - source.start][_indent(source) :], line in source.ran
    mark = glyphs.cursor if ran else " "
    return [Span(f"{line:4} {mark} ", "accent" if ran else "faint"), Span(text, "text" if ran else "dim")]


__all__ = ["source_lines", "source_title"]
