"""Desk: what is being looked at, without a screen: a record, the clock, the moment under it, the selection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from workbench.bench import EngineStatus, News, Scene
from workbench.bookmarks import Bookmarks
from workbench.branches import Branches
from workbench.clock import Clock
from workbench.following import follow
from workbench.inspections import Inspections
from workbench.moment import Moment, moment_at
from workbench.record import Direction, Record
from workbench.selection import Selection
from workbench.widgets.glyphs import UNICODE, Glyphs
from workbench.widgets.timeline import Flag

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
        self.branches = Branches(record)
        self.clock = Clock(record.branch)
        self.selection = Selection()
        self.stops: list[tuple[int, int]] = []  # branch and step where a point has halted the engine
        self._engine = engine
        self._inspections = inspections
        self._glyphs = glyphs
        self.clock.turn(record.branch, record.last_step, newest=record.branch == self.branches.newest)
        self.moment: Moment = moment_at(record, self.clock.cursor)
        self._select_something()

    @property
    def scene(self) -> Scene:
        """All of it, for a view to show."""
        return Scene(
            self.record, self.moment, self.selection, self._engine(), self._inspections, self._glyphs,
            self.branches,
        )  # fmt: skip

    @cached_property
    def bookmarks(self) -> Bookmarks:
        """The moments of this session that were given names."""
        return Bookmarks.of(self.record.path, self.record.about)

    def flags(self) -> dict[int, Flag]:
        """What the timeline shows beside what steps did: where branches part, bookmarks, stops."""
        branch, branches = self.record.branch, self.branches
        parted = dict.fromkeys(branches.partings(branch), Flag.PARTED) if branches.several else {}
        marks = (mark for mark in self.bookmarks if branches.holds(branch, mark.branch, mark.step))
        stops = [step for each, step in self.stops if branches.holds(branch, each, step)]
        return {
            **parted,
            **{mark.step: Flag.BOOKMARK for mark in marks},
            **dict.fromkeys(stops, Flag.STOP),
        }

    def look(self) -> News:
        """Take in what was recorded since."""
        if not self.record.refresh():
            return NOTHING
        self.branches.refresh()
        newest = self.branches.newest
        if newest != self.record.branch and self.clock.newest:
            return self._succeeded(newest)
        at_end = self.clock.step == self.clock.last_step
        moved = self.clock.grown(self.record.last_step)
        return News.RECORD | (self._moved() if moved or at_end else NOTHING)

    def _succeeded(self, newest: int) -> News:
        """A newer branch goes on now: a live cursor goes with it."""
        if self.clock.live:
            return self.turn_to(newest)
        self.clock.newest = False
        return News.RECORD | News.MOMENT

    def read_marks(self) -> bool:
        """Read on for the timeline; whether it is complete."""
        return self.record.marks.read(self.record.last_step)

    def move(self, how: Callable[[], bool]) -> News:
        """Move the clock by one of its methods."""
        return self._moved() if how() else NOTHING

    def seek(self, step: int, branch: int | None = None) -> News:
        """Go to a step, of the branch on the screen or of another one."""
        if branch is not None and branch != self.record.branch:
            return self.turn_to(branch, step)
        return self.move(lambda: self.clock.seek(step))

    def go_live(self) -> News:
        """Follow the run again, in the branch that goes on."""
        if not self.clock.newest:
            return self.turn_to(self.branches.newest)
        return self.move(self.clock.go_to_end)

    def turn_to(self, branch: int, step: int | None = None) -> News:
        """Look at another branch: at its end, or at `step` of it."""
        self.record = self.branches.record(branch)
        newest = branch == self.branches.newest
        self.clock.turn(branch, self.record.last_step, newest=newest, step=step)
        self._inspections.start_anew()
        self._moved()
        self.selection = follow(self.selection, replace(self.selection, position=None), self.moment)
        return News.ALL

    def seek_notable(self, direction: Direction) -> News:
        """Go to the nearest notable step; forward past the last one is being live again."""
        step = self.record.notable(self.clock.step, direction)
        if step is not None:
            return self.seek(step)
        return self.move(self.clock.go_to_end) if direction > 0 else self.seek(0)

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
