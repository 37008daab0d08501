"""A branch as its lineage: which steps of which branches are its history.

    branch 0   1 ── 2 ── 3 ── 4 ── 5 ── 6
    branch 1                  └── 5 ── 6 ── 7          lineage of 1: 0 up to step 4, then 1

What carries the step that a branch parted after belongs to both: what was said after it in the branch that it
left, before the next step, is part of where it began.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sessions.errors import SessionError
from sessions.fetching import FOREVER, fetch
from sessions.records import Branch


class Segment(NamedTuple):
    """The rows of `branch` from `first_step` to `last_step`, both included."""

    branch: int
    first_step: int
    last_step: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """The segments that lead to a branch, the oldest first."""

    segments: tuple[Segment, ...]

    @property
    def branch(self) -> int:
        return self.segments[-1].branch

    def owner(self, step: int) -> int:
        """The branch in which `step` was computed."""
        return next(segment.branch for segment in self.segments if step <= segment.last_step)

    def holder(self, step: int) -> int:
        """The latest branch that says something of `step`: there its end is, and what was said after it."""
        return next(segment.branch for segment in self.backwards() if segment.first_step <= step)

    def between(self, first: int, last: int) -> Iterator[Segment]:
        """The parts of the history from step `first` to `last`, the oldest first."""
        for branch, start, stop in self.segments:
            if start <= last and first <= stop:
                yield Segment(branch, max(first, start), min(last, stop))

    def backwards(self) -> Iterator[Segment]:
        """The segments, the latest first."""
        return reversed(self.segments)


def lineage_of(connection: sqlite3.Connection, branch: int) -> Lineage:
    """The lineage of `branch`. Raises SessionError where there is no such branch, or it is its own ancestor."""
    branches = {row[0]: Branch(*row) for row in fetch(connection, "SELECT * FROM branches")}
    segments: list[Segment] = []
    last = FOREVER
    while True:
        row = branches.get(branch)
        if row is None:
            raise SessionError(f"there is no branch {branch}")
        if row.parent is None or row.parent_step is None:
            return Lineage((Segment(branch, 0, last), *reversed(segments)))
        if row.parent >= branch:
            raise SessionError(f"branch {branch} says that it continues branch {row.parent}")
        if row.parent_step <= last:
            segments.append(Segment(branch, row.parent_step, last))
        branch, last = row.parent, min(last, row.parent_step)
