"""Who is first in line at each step, and the steps that a request passes without being scheduled."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from engine.reasons import BehindOlder, WaitReason
from engine.state import State
from sessions.decisions import code_of
from sessions.explain_facts import JUST_PREEMPTED, Behind, Wait

MOST_BEHIND: Final = 8
"""Of a long queue only the first ones are told: everybody in it has waited for many."""


class Line:
    """The request that waits at the front after each plan: everybody else who waits is behind it."""

    def __init__(self) -> None:
        self._steps = array("q")
        self._fronts: list[str | None] = []

    def planned(self, state: State) -> None:
        """The plan of `state.step` is applied: the first in line is whoever has a reason of its own."""
        front = next((id_ for id_ in state.fronts if state.requests[id_].wait is not None), None)
        if not self._fronts or self._fronts[-1] != front:
            self._steps.append(state.step)
            self._fronts.append(front)

    def during(self, first_step: int, last_step: int) -> tuple[tuple[Behind, ...], int]:
        """Who was at the front from `first_step` to `last_step`: the first ones in order, and how many more."""
        start = max(0, bisect_right(self._steps, first_step) - 1)
        stop = bisect_right(self._steps, last_step)
        told = min(stop, start + MOST_BEHIND)
        return tuple(self._turns(start, told, first_step, last_step)), stop - told

    def _turns(self, start: int, stop: int, first_step: int, last_step: int) -> Iterator[Behind]:
        for index in range(start, stop):
            until = self._steps[index + 1] - 1 if index + 1 < len(self._steps) else last_step
            if (front := self._fronts[index]) is not None:
                yield Behind(front, min(until, last_step) - max(self._steps[index], first_step) + 1)


@dataclass(slots=True)
class Waits:
    """The waits of one request: closed ones, and the reason that holds since a step."""

    closed: list[Wait] = field(default_factory=list)
    since: int | None = None  # the first step for which `reason` holds; None while it is scheduled
    reason: WaitReason | None = None

    def hold(self, reason: WaitReason | None, step: int, line: Line) -> None:
        """From `step` on it waits for `reason`; None: it has just been preempted."""
        self.end(step, line)
        self.since, self.reason = step, reason

    def end(self, step: int, line: Line) -> None:
        """From `step` on it waits no more, or for something else."""
        if self.since is not None and self.since < step:
            self._close(self.since, step - 1, line)
        self.since = None

    def _close(self, first: int, last: int, line: Line) -> None:
        code = JUST_PREEMPTED if self.reason is None else code_of(self.reason)
        reasons: tuple[WaitReason, ...] = () if self.reason is None else (self.reason,)
        before = self.closed[-1] if self.closed else None
        if before is not None and before.code == code and before.last_step == first - 1:
            first = self.closed.pop().first_step
            reasons = before.reasons if before.reasons[-1:] == reasons else before.reasons + reasons
        behind, more = line.during(first, last) if isinstance(self.reason, BehindOlder) else ((), 0)
        self.closed.append(Wait(code, first, last, reasons, behind, more))
