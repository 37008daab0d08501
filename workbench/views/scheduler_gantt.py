"""RequestLanes: requests by steps, from the recorded phases; a lane is read when it comes on the screen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sessions.records import Phase as Recorded
from sessions.records import PhaseName
from workbench.record import Record
from workbench.widgets.gantt import Phase

PHASES: Final[dict[PhaseName, Phase]] = {
    "waiting": Phase.WAITING,
    "prefill": Phase.PREFILL,
    "decode": Phase.DECODE,
    "preempted": Phase.WAITING,  # but for its first step
}
MOST_READ: Final = 1_024


class RequestLanes:
    """A lane for every request of the record, by arrival; after its cut, a preempted one is drawn as waiting."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._phases: dict[str, Sequence[Recorded]] = {}
        self.moved: Collection[str] = ()
        self.grow()

    def grow(self) -> None:
        """Take in what was recorded since."""
        self._requests = self._record.requests()
        self.steps = self._record.last_step + 1
        self._phases.clear()

    def __len__(self) -> int:
        return len(self._requests)

    def request(self, lane: int) -> str:
        return self._requests[lane].request

    def lane_of(self, request: str | None) -> int | None:
        row = None if request is None else self._record.request(request)
        return None if row is None else row.arrival

    def label(self, lane: int) -> str:
        return f"req {self.request(lane)}"

    def phases(self, lane: int, start: int, stop: int) -> bytes:
        row = bytearray(max(0, stop - start))
        for phase in self._of(self.request(lane)):
            last = self.steps - 1 if phase.last_step is None else phase.last_step
            first, after = max(phase.first_step, start), min(last + 1, stop)
            if first < after:
                row[first - start : after - start] = bytes([PHASES[phase.phase]]) * (after - first)
            self._mark(phase, row, start)
        return bytes(row)

    def changed(self, lane: int) -> bool:
        return self.request(lane) in self.moved

    def _of(self, request: str) -> Sequence[Recorded]:
        if request not in self._phases:
            if len(self._phases) == MOST_READ:
                self._phases.clear()
            self._phases[request] = self._record.phases(request)
        return self._phases[request]

    @staticmethod
    def _mark(phase: Recorded, row: bytearray, start: int) -> None:
        """The first step of a phase that says more: most of a prefill came from the cache, or it was cut."""
        at = phase.first_step - start
        if not 0 <= at < len(row) or (phase.last_step is not None and phase.last_step < phase.first_step):
            return
        if phase.phase == "prefill" and 2 * phase.cached_tokens >= phase.tokens > 0:
            row[at] = Phase.CACHED
        elif phase.phase == "preempted":
            row[at] = Phase.PREEMPTED


__all__ = ["RequestLanes"]
