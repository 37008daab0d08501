"""Marks: what each step did, one byte a step, for the timeline; read a part at a time."""

from __future__ import annotations

from sessions.reader import Session
from sessions.records import Notable
from sessions.steps import StepWork
from workbench.widgets.timeline import StepMark

STEPS_AT_ONCE = 10_000


class Marks:
    """A timeline model that grows with the run. Steps that were not read yet look idle."""

    def __init__(self, session: Session, branch: int) -> None:
        self._session = session
        self._branch = branch
        self._marks = bytearray([StepMark.IDLE])
        self.last_step = 0

    def __len__(self) -> int:
        return self.last_step + 1

    def read(self, last_step: int) -> bool:
        """Take in steps up to `last_step`, so many at once; whether all are in."""
        self.last_step = last_step
        first = len(self._marks)
        until = min(last_step, first + STEPS_AT_ONCE - 1)
        rows = self._session.step_work(first, until, self._branch) if first <= until else []
        self._marks.extend(bytes(until + 1 - first) if first <= until else b"")
        for row in rows:
            self._marks[row.step] = mark_of(row)
        return len(self._marks) > last_step

    def strongest(self, start: int, stop: int) -> StepMark:
        found = (mark for mark in reversed(StepMark) if self._marks.find(mark, start, stop) >= 0)
        return next(found, StepMark.IDLE)


def mark_of(row: StepWork) -> StepMark:
    """What the timeline shows of a step."""
    if row.notable:
        return next((mark for flags, mark in _NOTABLE if row.notable & flags), StepMark.NOTABLE)
    if row.prefill_tokens:
        return StepMark.PREFILL
    return StepMark.DECODE if row.decode_tokens else StepMark.IDLE


_NOTABLE = (
    (Notable.FAILED, StepMark.FAILED),
    (Notable.PREEMPTED, StepMark.PREEMPTED),
    (Notable.EVICTED, StepMark.EVICTED),
)

__all__ = ["Marks", "mark_of"]
