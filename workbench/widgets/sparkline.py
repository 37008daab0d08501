"""StepChart: small area charts over steps, one above the other, sharing one step axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Offset

from workbench.widgets.cells import fit
from workbench.widgets.cursor import CursorPane
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.inks import Ink
from workbench.widgets.track import Track, label_width, zoomed


class Series(Protocol):
    """A number for every step."""

    @property
    def name(self) -> str: ...

    @property
    def ink(self) -> Ink: ...

    @property
    def limit(self) -> float:
        """The value of a full column; 0 takes the largest value on screen."""
        ...

    def __len__(self) -> int: ...

    def values(self, start: int, stop: int) -> Sequence[float]:
        """Return the values of steps `start` to `stop` (not included)."""
        ...

    def written(self, value: float) -> str:
        """Return a value as it should be read."""
        ...


def columns(values: Sequence[float], limit: float, height: int, glyphs: Glyphs) -> list[str]:
    """Return an area chart of `values` as `height` lines from top to bottom; a trace never looks like nothing."""
    steps = len(glyphs.levels) - 1
    full = [_eighths(value, limit, height * steps) for value in values]
    return [
        "".join(glyphs.levels[min(max(filled - line * steps, 0), steps)] for filled in full)
        for line in reversed(range(height))
    ]


def _eighths(value: float, limit: float, most: int) -> int:
    if not value > 0 or not limit > 0:
        return 0
    return min(most, max(1, round(value / limit * most)))


class StepChart(CursorPane):
    """Series over steps. Left and right move the cursor; the value under it stands beside each name."""

    help_text = "Numbers over steps. ← → or a click choose a step; the value there stands beside each name."

    def __init__(
        self,
        series: Sequence[Series] = (),
        *,
        empty: str = "No steps yet.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.series: Sequence[Series] = series
        self.zoom = 0
        self._first = 0

    def set_series(self, series: Sequence[Series], *, zoom: int | None = None, first: int | None = None) -> None:
        """Show other series, at the zoom of the pane they stand under and from its first step on."""
        self.series = series
        self.zoom = self.zoom if zoom is None else zoom
        self._first = self._first if first is None else first
        self.items_changed()

    def item_count(self) -> int:
        return max((len(series) for series in self.series), default=0)

    def line_count(self) -> int:
        return self.body_height if self.item_count() else 0

    def line_of(self, index: int) -> int:
        return 0 if index >= 0 else -1

    @property
    def _gutter(self) -> int:
        return label_width(self.size.width)

    @property
    def track(self) -> Track:
        """Where the steps lie, moved so that the cursor is among them."""
        bare = zoomed(self.body_width - self._gutter, self.zoom)
        track = Track(self._first, bare.cells, bare.per_cell, bare.per_step)
        track = track.showing(self.cursor, self.item_count())
        self._first = track.first
        return track

    def move(self, step: Offset) -> None:
        if step.x:
            self.move_to(self.cursor + step.x * self.track.per_cell)

    def page(self, direction: int) -> None:
        self.move_to(self.cursor + direction * self.track.steps)

    def click_at(self, at: Offset) -> bool:
        if at.x < self._gutter or not self.item_count():
            return False
        self.move_to(self.track.step_at(at.x - self._gutter))
        return True

    def _put_cursor(self, index: int) -> None:
        self.cursor = index
        if self.is_attached:
            self.refresh()

    def _band(self, line: int) -> tuple[int, int, int]:
        """Return the series on a line, the line within its band, and the band's height."""
        count, height = len(self.series), max(1, self.body_height)
        number = min(count - 1, line * count // height)
        first = -(-number * height // count)
        after = -(-(number + 1) * height // count)
        return number, line - first, after - first

    def body_line(self, index: int) -> list[Segment]:
        number, line, height = self._band(index)
        series, track = self.series[number], self.track
        chart = max(1, height - 1) if height > 2 else height
        if line >= chart:
            return []
        values = self._pooled(series, track)
        limit = series.limit or max(values, default=0.0)
        text = columns(values, limit, chart, self.glyphs)[line]
        at = track.cell_of(self.cursor)
        return [
            *self._label(series, line, chart, limit),
            self.brush.segment(text[:at], series.ink),
            self._here(text[at : at + 1], series.ink),
            self.brush.segment(text[at + 1 :], series.ink),
        ]

    def _here(self, mark: str, ink: Ink) -> Segment:
        """Return the cell where a chart crosses the cursor's step: a hairline."""
        if mark != self.glyphs.levels[-1]:
            return self.brush.over(self.cursor_ink).segment(mark, ink)
        filled = Style(color=self.brush.base.bgcolor, bgcolor=self.brush.inks[ink].color)
        return Segment(self.glyphs.separator, filled)

    def _pooled(self, series: Series, track: Track) -> list[float]:
        """Return one value a cell: the largest of its steps."""
        stop = min(len(series), track.first + track.steps)
        values = series.values(track.first, stop)
        spans = (track.span(cell) for cell in range(track.cells))
        parts = (values[start - track.first : end - track.first] for start, end in spans)
        return [max(part, default=0.0) for part in parts]

    def _label(self, series: Series, line: int, height: int, limit: float) -> list[Segment]:
        width = self._gutter - 1
        if line == 0:
            here = series.values(self.cursor, self.cursor + 1) if self.cursor < len(series) else ()
            value = series.written(here[0]) if here else ""
            name = fit(series.name, max(0, width - len(value) - 1), ellipsis=self.glyphs.ellipsis)
            parts = [self.brush.segment(f"{name} ", "dim"), self.brush.segment(value, "strong")]
        else:
            scale = f"of {series.written(limit)}" if line == 1 and height > 1 else ""
            parts = [self.brush.segment(fit(scale, width, "right"), "faint")]
        return [*parts, self.brush.segment(self.glyphs.separator, "faint")]

    def copy_text(self) -> str:
        """Return every series' value at the cursor."""
        values = ((series, series.values(self.cursor, self.cursor + 1)) for series in self.series)
        return "  ".join(f"{series.name} {series.written(here[0])}" for series, here in values if here)
