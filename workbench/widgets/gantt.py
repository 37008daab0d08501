"""Gantt: a lane for every request, a cell for every step, filled with what the request did in it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import groupby
from typing import ClassVar, NamedTuple, Protocol

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Offset

from workbench.widgets.cells import fit
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.inks import Ink
from workbench.widgets.messages import CellMoved, Zoomed
from workbench.widgets.pane import LinePane
from workbench.widgets.spans import Span, lay
from workbench.widgets.track import Track, label_width, ruler, zoomed

NEAREST, FARTHEST = 3, -12


class Phase(IntEnum):
    """What a request did in a step; where one cell holds many steps, the highest one shows."""

    NONE = 0
    WAITING = 1
    DECODE = 2
    CACHED = 3
    PREFILL = 4
    PREEMPTED = 5


class GanttModel(Protocol):
    """Lanes by index, read a range of steps at a time."""

    @property
    def steps(self) -> int:
        """How many steps there are."""
        ...

    def __len__(self) -> int: ...

    def label(self, lane: int) -> str:
        """Return a lane's name."""
        ...

    def phases(self, lane: int, start: int, stop: int) -> bytes:
        """Return one `Phase` byte for each of the steps `start` to `stop` (not included)."""
        ...

    def changed(self, lane: int) -> bool:
        """Whether the step under the cursor moved this request to another state."""
        ...


class PhaseLook(NamedTuple):
    """How a phase is written and drawn."""

    name: str
    mark: str
    ink: Ink


def looks(glyphs: Glyphs) -> dict[Phase, PhaseLook]:
    """Return the look of every phase."""
    return {
        Phase.NONE: PhaseLook("", " ", "text"),
        Phase.WAITING: PhaseLook("waiting", glyphs.lane_waiting, "waiting"),
        Phase.CACHED: PhaseLook("cached", glyphs.lane_cached, "cached"),
        Phase.PREFILL: PhaseLook("prefill", glyphs.lane_prefill, "prefill"),
        Phase.DECODE: PhaseLook("decode", glyphs.lane_decode, "decode"),
        Phase.PREEMPTED: PhaseLook("preempted", glyphs.lane_preempted, "preempted"),
    }


class Gantt(LinePane):
    """Requests by steps. Up and down select a request, left and right a step, + and - zoom in time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "zoom(1)", "Zoom in", show=False, id="gantt.zoom_in"),
        Binding("minus", "zoom(-1)", "Zoom out", show=False, id="gantt.zoom_out"),
    ]
    help_text = (
        "Requests (down) by steps (across). ↑ ↓ select a request, ← → a step, PgUp PgDn page, Home End the first "
        "and last step, + - zoom in time, Enter goes there. The marks are named below the lanes."
    )

    def __init__(
        self,
        model: GanttModel | None = None,
        *,
        empty: str = "No requests.",
        legend: bool = True,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.model = model
        self.row = self.column = 0
        self.zoom = 0
        self.now: int | None = None  # the step the clock is at, where the cursor may be elsewhere
        self.top_lines, self.bottom_lines = 1, 1 if legend else 0
        self._first = 0

    def set_model(self, model: GanttModel | None) -> None:
        """Show other lanes, the cursor where it was as far as that goes."""
        self.model = model
        if model is not None:
            self.row = min(self.row, max(0, len(model) - 1))
            self.column = min(self.column, max(0, model.steps - 1))
        self.content_changed()

    # Cursor

    def show_cell(self, lane: int, step: int) -> None:
        """Put the cursor on a lane and step, telling nobody."""
        if self.model is None or not len(self.model):
            return
        self.row = min(max(lane, 0), len(self.model) - 1)
        self.column = min(max(step, 0), max(0, self.model.steps - 1))
        if self.is_attached:
            self.show_line(self.row)
            self.refresh()

    def on_resize(self) -> None:
        super().on_resize()
        if self.line_count():
            self.show_line(self.row)

    def move_to(self, lane: int, step: int) -> None:
        """Put the cursor on a lane and step for a person, and say so if that moved it."""
        before = self.row, self.column
        self.show_cell(lane, step)
        if (self.row, self.column) != before:
            self.post_message(CellMoved(self, self.row, self.column))

    def move(self, step: Offset) -> None:
        self.move_to(self.row + step.y, self.column + step.x * self.track.per_cell)

    def edge(self, direction: int) -> None:
        self.move_to(self.row, 0 if direction < 0 or self.model is None else self.model.steps - 1)

    def click_at(self, at: Offset) -> bool:
        if self.model is None or at.x < self._gutter or not 0 <= at.y < len(self.model):
            return False
        self.move_to(at.y, self.track.step_at(at.x - self._gutter))
        return True

    def action_zoom(self, direction: int) -> None:
        self.zoom = min(max(self.zoom + direction, FARTHEST), NEAREST)
        self.refresh()
        self.post_message(Zoomed(self))

    # Geometry

    @property
    def _gutter(self) -> int:
        return label_width(self.size.width)

    @property
    def track(self) -> Track:
        """Where the steps lie, moved so that the cursor is among them."""
        steps = self.model.steps if self.model else 0
        bare = zoomed(self.body_width - self._gutter, self.zoom)
        track = Track(self._first, bare.cells, bare.per_cell, bare.per_step).showing(self.column, steps)
        self._first = track.first
        return track

    # Drawing

    def line_count(self) -> int:
        return len(self.model) if self.model else 0

    def head_lines(self) -> Sequence[list[Segment]]:
        track, brush = self.track, self.brush
        here = f"{self.glyphs.draw_mark}{self.column}"
        at = max(0, min(track.cell_of(self.column), track.cells - len(here)))
        numbers = ruler(track, self.model.steps if self.model else 0, range(at, at + len(here)))
        return [
            [
                brush.segment("step".ljust(self._gutter), "dim"),
                *self._ruler(numbers[:at], 0),
                brush.segment(here, "past"),
                *self._ruler(numbers[at + len(here) :], at + len(here)),
            ]
        ]

    def _ruler(self, text: str, start: int) -> list[Segment]:
        """Return a part of the ruler from cell `start` on, with the clock's step marked if it lies there."""
        brush = self.brush
        at = -1 if self.now is None else self.track.cell_of(self.now) - start
        if not 0 <= at < len(text):
            return [brush.segment(text, "dim")]
        mark = brush.segment(self.glyphs.changed, "live")
        return [brush.segment(text[:at], "dim"), mark, brush.segment(text[at + 1 :], "dim")]

    def body_line(self, index: int) -> list[Segment]:
        assert self.model is not None
        track = self.track
        start, stop = track.first, min(self.model.steps, track.first + track.steps + track.per_cell)
        phases = self.model.phases(index, start, stop)
        cells = [self._phase(phases, cell, track) for cell in range(track.cells)]
        return [*self._label(index), *self._lane(cells, track.cell_of(self.column), index == self.row)]

    def _phase(self, phases: bytes, cell: int, track: Track) -> Phase:
        start, stop = track.span(cell)
        here = phases[start - track.first : stop - track.first]
        return Phase(max(here)) if here else Phase.NONE

    def _label(self, index: int) -> list[Segment]:
        assert self.model is not None
        changed = self.model.changed(index)
        mark = self.glyphs.changed if changed else " "
        text = fit(self.model.label(index), self._gutter - 3, ellipsis=self.glyphs.ellipsis)
        ink: Ink = self.cursor_ink if index == self.row else "text"
        return [
            self.brush.segment(mark, "changed"),
            self.brush.segment(f" {text}", ink),
            self.brush.segment(" "),
        ]

    def _lane(self, cells: list[Phase], at: int, chosen: bool) -> list[Segment]:
        """Return the lane's cells, equal neighbours merged, the cursor's step on another ground."""
        table = looks(self.glyphs)
        segments: list[Segment] = []
        marked = enumerate(cells)
        for (phase, here), run in groupby(marked, key=lambda item: (item[1], item[0] == at)):
            look = table[phase]
            plain = self.brush.segment(look.mark * len(list(run)), look.ink)
            segments.append(self._here(look, chosen) if here else plain)
        return segments

    def _here(self, look: PhaseLook, chosen: bool) -> Segment:
        """Return the cell where a lane crosses the cursor's step: a hairline, and a cross on the chosen lane."""
        mark = self.glyphs.crosshair if chosen else self.glyphs.separator
        if not look.name:
            return self.brush.segment(mark, self.cursor_ink if chosen else "faint")
        ink = self.brush.inks[look.ink]
        if self.app.no_color or ink.color is None:  # no ground can tell the phase: its own mark does
            return Segment(look.mark, self.brush.base + Style(bold=True, reverse=chosen, underline=not chosen))
        return Segment(mark, Style(color=self.brush.base.bgcolor, bgcolor=ink.color, bold=True))

    def foot_lines(self) -> Sequence[list[Segment]]:
        spans: list[Span] = []
        for phase, look in looks(self.glyphs).items():
            if phase is not Phase.NONE:
                spans += [Span(look.mark, look.ink), Span(f" {look.name}  ", "dim")]
        per_cell = self.track.per_cell
        if per_cell > 1:
            spans.append(Span(f"1 cell = {per_cell} steps", "dim"))
        return [[self.brush.segment(" "), *lay(spans, self.body_width - 1, self.brush)]]

    def copy_text(self) -> str:
        """Return the cursor's lane and step, and what happened there."""
        if self.model is None or not len(self.model) or not self.model.steps:
            return ""
        phase = Phase(self.model.phases(self.row, self.column, self.column + 1)[0])
        return f"{self.model.label(self.row)} step {self.column} {looks(self.glyphs)[phase].name}".rstrip()
