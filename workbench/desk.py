"""Desk: what is being looked at, without a screen: a record, the clock, the moment under it, the selection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workbench.bench import EngineStatus, News, Scene
from workbench.clock import Clock
from workbench.following import follow
from workbench.inspections import Inspections
from workbench.moment import Moment, moment_at
from workbench.record import Direction, Record
from workbench.selection import Selection
from workbench.widgets.glyphs import UNICODE, Glyphs

NOTHING = News(0)


class Desk:
    """Every method that may change what is on the screen says what is news."""

    def __init__(
        self,
        record: Record,
        engine: Callable[[], EngineStatus],
        inspections: Inspections,
        glyphs: Glyphs = UNICODE,
    ) -> None:
        self.record = record
        self.clock = Clock(record.branch)
        self.selection = Selection()
        self._engine = engine
        self._inspections = inspections
        self._glyphs = glyphs
        self.clock.grown(record.last_step)
        self.moment: Moment = moment_at(record, self.clock.cursor)
        self._select_something()

    @property
    def scene(self) -> Scene:
        """All of it, for a view to show."""
        return Scene(
            self.record, self.moment, self.selection, self._engine(), self._inspections, self._glyphs
        )  # fmt: skip

    def look(self) -> News:
        """Take in what was recorded since."""
        if not self.record.refresh():
            return NOTHING
        newest = self.clock.step == self.clock.last_step
        moved = self.clock.grown(self.record.last_step)
        return News.RECORD | (self._moved() if moved or newest else NOTHING)

    def read_marks(self) -> bool:
        """Read on for the timeline; whether it is complete."""
        return self.record.marks.read(self.record.last_step)

    def move(self, how: Callable[[], bool]) -> News:
        """Move the clock by one of its methods."""
        return self._moved() if how() else NOTHING

    def seek(self, step: int) -> News:
        return self.move(lambda: self.clock.seek(step))

    def seek_notable(self, direction: Direction) -> News:
        """Go to the nearest notable step; forward past the last one is being live again."""
        step = self.record.notable(self.clock.step, direction)
        if step is not None:
            return self.seek(step)
        return self.move(self.clock.go_live) if direction > 0 else self.seek(0)

    def select(self, selection: Selection) -> News:
        """Select something, and what follows from it."""
        chosen = follow(selection, self.selection, self.moment)
        if chosen == self.selection:
            return NOTHING
        self.selection = chosen
        return News.SELECTION

    def _moved(self) -> News:
        self.moment = moment_at(self.record, self.clock.cursor)
        return News.MOMENT | self._select_something()

    def _select_something(self) -> News:
        """The first request, as soon as there is one."""
        if self.selection.request is not None or not self.moment.requests:
            return NOTHING
        self.selection = replace(self.selection, request=self.moment.requests[0].request)
        return News.SELECTION


__all__ = ["Desk"]
