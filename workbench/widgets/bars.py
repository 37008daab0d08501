"""Horizontal bars drawn in eighths of a cell, and stacks of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style

from workbench.widgets.cells import cell_len, safe
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.inks import Brush, Ink


class Part(NamedTuple):
    """One part of a stacked bar, in the units of its total."""

    amount: float
    ink: Ink
    label: str = ""


def bar_text(fraction: float, width: int, glyphs: Glyphs, *, track: bool = False) -> str:
    """Return a bar of `width` cells filled to `fraction` (clamped to 0..1); a trace never looks like nothing."""
    steps = len(glyphs.eighths) - 1
    share = min(max(fraction, 0.0), 1.0) if fraction == fraction else 0.0
    filled = round(share * width * steps)
    if share > 0 and width:
        filled = max(filled, 1)
    whole, rest = divmod(filled, steps)
    text = glyphs.eighths[-1] * whole + (glyphs.eighths[rest] if rest else "")
    return text + (glyphs.track if track else " ") * (width - len(text))


def shares(amounts: Sequence[float], total: float, width: int) -> list[int]:
    """Return whole cells per amount along `total`.

    Edges are rounded, so that cells add up; no part over 0 vanishes while there is room for it.
    """
    edges = [0]
    running = 0.0
    for amount in amounts:
        running += max(amount, 0.0)
        edge = round(running / total * width) if total > 0 else 0
        wanted = edges[-1] + (1 if amount > 0 else 0)
        edges.append(min(width, max(edge, wanted)))
    return [after - before for before, after in pairwise(edges)]


def stacked(parts: Sequence[Part], total: float, width: int, brush: Brush) -> list[Segment]:
    """Return parts side by side on a track of `total`, each with its label where it fits."""
    cells = shares([part.amount for part in parts], total, width)
    drawn = [_part(part, room, brush) for part, room in zip(parts, cells, strict=True) if room]
    rest = width - sum(cells)
    track = [brush.segment(brush.glyphs.track * rest, "faint")] if rest else []
    return [segment for segments in drawn for segment in segments] + track


def _part(part: Part, cells: int, brush: Brush) -> list[Segment]:
    """Return one part, ended by a thin gap to its neighbour."""
    glyphs = brush.glyphs
    label = f" {safe(part.label)} " if part.label else ""
    if cell_len(label) >= cells:
        label = ""
    ink = brush.inks[part.ink]
    on_bar = Style(color=brush.base.bgcolor, bgcolor=ink.color, bold=True)
    bar = glyphs.eighths[-1] * (cells - 1 - cell_len(label)) + glyphs.segment_end
    return [*([Segment(label, on_bar)] if label else []), brush.segment(bar, part.ink)]
