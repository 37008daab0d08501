"""Columns of a table and of a tree's right side, and how they share a width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment

from workbench.widgets.cells import Align
from workbench.widgets.inks import Brush
from workbench.widgets.spans import Line, Span, lay

GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `width` cells, or of a share of what is left when `width` is 0 (never under `least`).

    When the pane is narrow, columns of the highest `priority` number go first; those of priority 0 stay.
    """

    title: str
    width: int = 0
    align: Align = "left"
    priority: int = 0
    least: int = 8

    @property
    def need(self) -> int:
        """The cells this column cannot do without."""
        return self.width or self.least


@dataclass(frozen=True, slots=True)
class Placed:
    """A column that fits: its index in the model and the cells it got."""

    index: int
    column: Column
    width: int


def place(columns: Sequence[Column], width: int) -> list[Placed]:
    """Return the columns that fit in `width` cells, flexible ones grown to fill it."""
    kept = list(enumerate(columns))
    while kept and _needed(kept) > width and (droppable := [item for item in kept if item[1].priority]):
        worst = max(column.priority for _, column in droppable)
        kept.remove(next(item for item in reversed(droppable) if item[1].priority == worst))
    spare = max(0, width - _needed(kept))
    flexible = [index for index, column in kept if not column.width]
    placed = []
    for index, column in kept:
        extra = 0
        if index in flexible:
            position = flexible.index(index)
            extra = spare * (position + 1) // len(flexible) - spare * position // len(flexible)
        placed.append(Placed(index, column, column.need + extra))
    return placed


def _needed(kept: Sequence[tuple[int, Column]]) -> int:
    return sum(column.need for _, column in kept) + GAP * max(0, len(kept) - 1)


def lay_titles(placed: Sequence[Placed], brush: Brush) -> list[Segment]:
    """Return the header of placed columns."""
    titles: dict[int, Line] = {item.index: Span(item.column.title, "header") for item in placed}
    return lay_row(titles, placed, brush)


def lay_row(cells: Sequence[Line] | dict[int, Line], placed: Sequence[Placed], brush: Brush) -> list[Segment]:
    """Return one row: each placed column's cell in its width, `GAP` cells between them."""
    segments: list[Segment] = []
    for position, item in enumerate(placed):
        if position:
            segments.append(brush.segment(" " * GAP))
        segments.extend(lay(cells[item.index], item.width, brush, item.column.align))
    return segments
