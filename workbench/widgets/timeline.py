"""Timeline: the whole run on one line, a mark for what each step did, and where in time the screen is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Offset

from workbench.widgets.cells import cell_len, cut
from workbench.widgets.cursor import CursorPane
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Span


class StepMark(IntEnum):
    """What a step did; where one cell holds many steps, the highest one shows."""

    IDLE = 0
    DECODE = 1
    PREFILL = 2
    NOTABLE = 3
    EVICTED = 4
    PREEMPTED = 5
    FAILED = 6


class Flag(IntEnum):
    """What a person, or the debugger, put on a step; it stands in the place of what the step did."""

    PARTED = 0  # a branch begins after it
    BOOKMARK = 1
    STOP = 2


class TimelineModel(Protocol):
    """Steps by index."""

    def __len__(self) -> int: ...

    def strongest(self, start: int, stop: int) -> StepMark:
        """Return the highest mark of steps `start` to `stop` (not included)."""
        ...


def flag_span(flag: Flag, glyphs: Glyphs) -> Span:
    """Return a flag as it is drawn."""
    looks: dict[Flag, tuple[str, Ink]] = {
        Flag.PARTED: (glyphs.parted_step, "accent"),
        Flag.BOOKMARK: (glyphs.bookmarked_step, "key"),
        Flag.STOP: (glyphs.stopped_step, "bad"),
    }
    text, ink = looks[flag]
    return Span(text, ink)


def mark_span(mark: StepMark, glyphs: Glyphs) -> Span:
    """Return a mark as it is drawn."""
    looks: dict[StepMark, tuple[str, Ink]] = {
        StepMark.IDLE: (glyphs.idle_step, "faint"),
        StepMark.DECODE: (glyphs.decode_step, "decode"),
        StepMark.PREFILL: (glyphs.prefill_step, "prefill"),
        StepMark.NOTABLE: (glyphs.notable_step, "changed"),
        StepMark.EVICTED: (glyphs.evicted_step, "evicted"),
        StepMark.PREEMPTED: (glyphs.preempted_step, "preempted"),
        StepMark.FAILED: (glyphs.failed_step, "failed"),
    }
    text, ink = looks[mark]
    return Span(text, ink)


class Cells(NamedTuple):
    """How `steps` lie on `width` cells: one a cell, or spread evenly over all of them when there are more."""

    width: int
    steps: int

    def span(self, cell: int) -> tuple[int, int]:
        """Return the steps (start, stop) under a cell."""
        if self.steps <= self.width:
            return cell, cell + 1
        return cell * self.steps // self.width, (cell + 1) * self.steps // self.width

    def cell_of(self, step: int) -> int:
        """Return the cell a step lies on."""
        return step if self.steps <= self.width else ((step + 1) * self.width - 1) // self.steps


class Timeline(CursorPane):
    """One line of steps. The cursor is the step every pane shows; at the live end it follows the run."""

    help_text = (
        "The run, step by step: ▪ prefill, · decode, E evicted, P preempted, F failed, ▲ notable; "
        "◆ a bookmark, ■ where the engine stopped, ┬ where branches part. "
        "← → or a click move through time, Home is the first step, End the newest."
    )

    def __init__(
        self,
        model: TimelineModel | None = None,
        *,
        empty: str = "No step yet.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.model = model
        self.live = True
        self.live_word = "LIVE"
        self._flags: Mapping[int, Flag] = {}
        self._flagged: list[int] = []

    def set_model(
        self, model: TimelineModel | None, *, step: int | None = None, live: bool | None = None
    ) -> None:
        """Show other steps, with the cursor at `step` and LIVE or PAST beside it."""
        self.model = model
        self.live = self.live if live is None else live
        self.cursor = self.cursor if step is None else step
        self.items_changed()

    def set_flags(self, flags: Mapping[int, Flag]) -> None:
        """Put flags on steps, in the place of those that were there."""
        if flags != self._flags:
            self._flags, self._flagged = dict(flags), sorted(flags)
            self.refresh()

    def flag_in(self, start: int, stop: int) -> Flag | None:
        """Return the highest flag of steps `start` to `stop` (not included)."""
        first, last = bisect_left(self._flagged, start), bisect_left(self._flagged, stop)
        return max((self._flags[step] for step in self._flagged[first:last]), default=None)

    def item_count(self) -> int:
        return len(self.model) if self.model else 0

    def line_count(self) -> int:
        return 1 if self.item_count() else 0

    def line_of(self, index: int) -> int:
        return 0 if index >= 0 else -1

    @property
    def label(self) -> list[Span]:
        """Where in time the screen is, in words."""
        last = self.item_count() - 1
        state = Span(self.live_word, "live") if self.live else Span("PAST", "past")
        return [Span(f" step {self.cursor} of {last}  "), state, Span(" ")]

    @property
    def cells(self) -> Cells:
        """Where the steps lie; the label and two edges take the rest of the line."""
        room = self.body_width - sum(cell_len(span.text) for span in self.label) - 2
        return Cells(max(1, room), self.item_count())

    def move(self, step: Offset) -> None:
        if step.x:
            self.move_to(self.cursor + step.x)

    def page(self, direction: int) -> None:
        self.move_to(self.cursor + direction * max(10, self.item_count() // 10))

    def click_at(self, at: Offset) -> bool:
        cells = self.cells
        if not 1 <= at.x <= min(cells.width, self.item_count()):
            return False
        self.move_to(cells.span(at.x - 1)[1] - 1)
        return True

    def body_line(self, index: int) -> list[Segment]:
        assert self.model is not None
        assert index == 0
        cells, brush = self.cells, self.brush
        edge = brush.segment(self.glyphs.separator, "faint")
        drawn = [self._cell(cell, cells) for cell in range(cells.width)]
        label = (Span(cut(span.text, self.body_width, self.glyphs.ellipsis), span.ink) for span in self.label)
        return [edge, *drawn, edge, *(brush.segment(span.text, span.ink) for span in label)]

    def _cell(self, cell: int, cells: Cells) -> Segment:
        assert self.model is not None
        start, stop = cells.span(cell)
        if start >= cells.steps:
            return self.brush.segment(" ")
        flag = self.flag_in(start, stop)
        mark = mark_span(self.model.strongest(start, stop), self.glyphs)
        span = mark if flag is None else flag_span(flag, self.glyphs)
        if cell != cells.cell_of(self.cursor):
            return self.brush.segment(span.text, span.ink)
        plain = span.text in (self.glyphs.idle_step, self.glyphs.decode_step)
        now = self.brush.style("live" if self.live else "past")
        return Segment(self.glyphs.changed if plain else span.text, now + Style(reverse=True))

    def copy_text(self) -> str:
        return "".join(span.text for span in self.label).strip()
