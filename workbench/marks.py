"""Marks: what each step did, one byte a step, for the timeline; read a part at a time."""

from __future__ import annotations

from sessions.reader import Session
from sessions.records import Notable, StepRow
from workbench.widgets.timeline import StepMark

STEPS_AT_ONCE = 4_000


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
        rows = self._session.step_rows(first, until, self._branch) if first <= until else []
        self._marks.extend(bytes(until + 1 - first) if first <= until else b"")
        for row in rows:
            self._marks[row.step] = mark_of(row)
        return len(self._marks) > last_step

    def strongest(self, start: int, stop: int) -> StepMark:
        found = (mark for mark in reversed(StepMark) if self._marks.find(mark, start, stop) >= 0)
        return next(found, StepMark.IDLE)


def mark_of(row: StepRow) -> StepMark:
    """What the timeline shows of a step."""
    notable = Notable(row.notable)
    looks = (
        (Notable.FAILED, StepMark.FAILED),
        (Notable.PREEMPTED, StepMark.PREEMPTED),
        (Notable.EVICTED, StepMark.EVICTED),
        (Notable.ADMITTED | Notable.FINISHED, StepMark.NOTABLE),
    )
    for flags, mark in looks:
        if notable & flags:
            return mark
    if row.prefill_tokens:
        return StepMark.PREFILL
    return StepMark.DECODE if row.decode_tokens else StepMark.IDLE


__all__ = ["Marks", "mark_of"]
