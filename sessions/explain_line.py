"""Who is first in line at each step, and the steps that a request passes without being scheduled."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.reasons import BehindOlder, WaitReason
from engine.state import State
from sessions.decisions import code_of
from sessions.explain_facts import JUST_PREEMPTED, Behind, Wait


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

    def during(self, first_step: int, last_step: int) -> Iterator[Behind]:
        """Who was at the front from `first_step` to `last_step`, in order."""
        index = max(0, bisect_right(self._steps, first_step) - 1)
        step = first_step
        while step <= last_step and index < len(self._fronts):
            until = self._steps[index + 1] - 1 if index + 1 < len(self._steps) else last_step
            if (front := self._fronts[index]) is not None:
                yield Behind(front, min(until, last_step) - step + 1)
            step, index = until + 1, index + 1


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
        behind = tuple(line.during(first, last)) if isinstance(self.reason, BehindOlder) else ()
        before = self.closed[-1] if self.closed else None
        if before is not None and before.code == code and before.last_step == first - 1:
            del self.closed[-1]
            first, behind = before.first_step, _joined((*before.behind, *behind))
            reasons = before.reasons if before.reasons[-1:] == reasons else before.reasons + reasons
        self.closed.append(Wait(code, first, last, reasons, behind))


def _joined(parts: tuple[Behind, ...]) -> tuple[Behind, ...]:
    """`parts` with neighbours of the same request as one."""
    joined: list[Behind] = []
    for part in parts:
        if joined and joined[-1].request == part.request:
            joined[-1] = Behind(part.request, joined[-1].steps + part.steps)
        else:
            joined.append(part)
    return tuple(joined)
