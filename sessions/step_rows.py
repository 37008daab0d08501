"""The row of `steps` for each step: its times and the counts that charts draw without folding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from engine import events as ev
from engine.state import State
from sessions.phases import Phases
from sessions.records import Notable, StepRow
from sessions.rows import Rows

NOTABLE: Final[Mapping[type[ev.Event], Notable]] = {
    ev.Admitted: Notable.ADMITTED,
    ev.Preempted: Notable.PREEMPTED,
    ev.Evicted: Notable.EVICTED,
    ev.Finished: Notable.FINISHED,
    ev.StepFailed: Notable.FAILED,
}

_NO_TIMES: Final = {"started_ns": 0, "plan_ns": 0, "forward_ns": 0, "sample_ns": 0, "commit_ns": 0}


class StepRows:
    """Gathers what is said during a step until it ends."""

    def __init__(self, rows: Rows, state: State, phases: Phases) -> None:
        self._rows = rows
        self._state = state
        self._phases = phases
        self._step = 0  # the latest step that began
        self._first_seq = 1
        self._ended = True
        self._notable = Notable(0)
        self._plan: ev.Scheduled | None = None

    def see(self, event: ev.Event, seq: int) -> None:
        """Take in `event`, which is applied."""
        if event.step > self._step:
            self._step, self._first_seq, self._ended = event.step, seq, False
            self._notable, self._plan = Notable(0), None
        if mark := NOTABLE.get(type(event)):
            self._mark(mark, event)
        if isinstance(event, ev.Scheduled):
            self._plan = event
        elif isinstance(event, ev.StepCommitted | ev.StepFailed):
            self._end(event, seq)

    def _mark(self, mark: Notable, event: ev.Event) -> None:
        """Remember why the step is notable; after its end (an abort between steps), on its row."""
        self._notable |= mark
        if self._ended and self._step > 0:
            self._rows.add("notable", (int(mark), event.branch, event.step))

    def _end(self, event: ev.StepCommitted | ev.StepFailed, seq: int) -> None:
        self._ended = True
        batch = self._plan.batch if self._plan else ()
        row = StepRow(
            branch=event.branch, step=event.step, first_seq=self._first_seq, last_seq=seq,
            tokens=sum(work.tokens for work in batch),
            prefill_tokens=sum(work.tokens for work in batch if work.phase == "prefill"),
            decode_tokens=sum(work.tokens for work in batch if work.phase != "prefill"),
            budget=self._plan.budget if self._plan else 0, notable=int(self._notable),
            error=event.error if isinstance(event, ev.StepFailed) else None,
            batch=msgspec.json.encode(batch).decode(),
            **_times(event), **self._counts(),
        )  # fmt: skip
        self._rows.add("steps", msgspec.structs.astuple(row))

    def _counts(self) -> dict[str, int]:
        state, totals = self._state, self._state.totals
        preempted = self._phases.count["preempted"]
        return {
            "running": len(state.running), "waiting": len(state.waiting) - preempted, "preempted": preempted,
            "free_blocks": len(state.blocks.free), "cached_blocks": state.blocks.cached,
            "owned_blocks": state.blocks.owned, "submitted": totals.submitted, "finished": totals.finished,
            "looked_up_tokens": totals.looked_up_tokens, "hit_tokens": totals.hit_tokens,
            "evicted_blocks": totals.evicted_blocks, "preemptions": totals.preemptions,
            "computed_tokens": totals.computed_tokens, "output_tokens": totals.output_tokens,
        }  # fmt: skip


def _times(event: ev.StepCommitted | ev.StepFailed) -> Mapping[str, int]:
    if isinstance(event, ev.StepFailed):
        return _NO_TIMES
    return {name: getattr(event, name) for name in _NO_TIMES}
