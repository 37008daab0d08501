"""When steps began and ended, in nanoseconds since the first one began: never going back."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from sessions.records import StepRow


class TraceClock:
    """Times of steps from their rows, which begin with `first_step`.

    Wall clocks may jump and a failed step has no times; a step then begins where the one before ended.
    """

    def __init__(self, first_step: int = 1) -> None:
        self.first_step = first_step
        self._starts = array("q", [0])  # of the step before the first
        self._ends = array("q", [0])
        self._origin: int | None = None

    def add(self, row: StepRow) -> int:
        """Take in the next step; when it began."""
        before = self._ends[-1]
        if self._origin is None and row.started_ns:
            self._origin = row.started_ns
        begin = max(before, row.started_ns - self._origin if row.started_ns and self._origin else 0)
        self._starts.append(begin)
        self._ends.append(begin + row.total_ns)
        return begin

    def add_all(self, rows: Iterable[StepRow]) -> None:
        for row in rows:
            self.add(row)

    @property
    def last_step(self) -> int:
        return self.first_step + len(self._ends) - 2

    def start_of(self, step: int) -> int:
        """When `step` began; for a step still to come, when the last one ended; 0 for one before the first."""
        return self._starts[self._index(step)] if step <= self.last_step else self._ends[-1]

    def end_of(self, step: int) -> int:
        """When `step` ended."""
        return self._ends[self._index(min(step, self.last_step))]

    def _index(self, step: int) -> int:
        return max(0, step - self.first_step + 1)
