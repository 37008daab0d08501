"""The phases each request goes through, step by step: what a Gantt chart draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from engine import events as ev
from engine.events import Event
from engine.reasons import ByHand
from engine.state import RequestState, State
from sessions.records import Phase, PhaseName
from sessions.rows import Rows


class Phases:
    """The open phase of every live request, and how many requests are in each.

    Events of a plan change the step they belong to; what a commit says holds from the next step on.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._open: dict[str, Phase] = {}
        self.count: Counter[str] = Counter()

    def resume(self, branch: int, phases: Iterable[Phase], state: State) -> None:
        """The engine went back to `state`: the phases so far of its requests, the latest open again."""
        self._open.clear()
        self.count.clear()
        for phase in phases:
            request = state.requests[phase.request]
            if phase.first_step > request.state_step + 1 or phase.request in self._open:
                continue  # the branch that was left went through it
            here = msgspec.structs.replace(phase, branch=branch)
            if phase.phase == _PHASES[request.state] and phase.first_step >= request.state_step:
                here.last_step = None
                self._open[phase.request] = here
                self.count[here.phase] += 1
            self._write(here)

    def see(self, event: Event) -> None:
        if handler := _HANDLERS.get(type(event)):
            handler(self, event)

    def _begin(
        self, event: Event, request: str, phase: PhaseName, first_step: int, tokens: int = 0, cached: int = 0
    ) -> None:
        number = self._end(request, first_step - 1)
        opened = Phase(
            branch=event.branch, request=request, number=number, phase=phase, first_step=first_step,
            tokens=tokens, cached_tokens=cached,
        )  # fmt: skip
        self._open[request] = opened
        self.count[phase] += 1
        self._write(opened)

    def _end(self, request: str, last_step: int) -> int:
        """Close the open phase, if any; the number of the next one."""
        closed = self._open.pop(request, None)
        if closed is None:
            return 0
        closed.last_step = max(last_step, closed.first_step - 1)
        self.count[closed.phase] -= 1
        self._write(closed)
        return closed.number + 1

    def _write(self, phase: Phase) -> None:
        self._rows.add("phases", msgspec.structs.astuple(phase))

    def _submitted(self, event: ev.Submitted | ev.Forked) -> None:
        self._begin(event, event.request, "waiting", event.step + 1)

    def _admitted(self, event: ev.Admitted) -> None:
        self._begin(event, event.request, "prefill", event.step, event.tokens, event.cached_tokens)

    def _started(self, event: ev.Started | ev.Shared) -> None:
        self._begin(event, event.request, "decode", event.step + 1)

    def _preempted(self, event: ev.Preempted) -> None:
        by_hand = isinstance(event.reason, ByHand)  # after the step that it carries
        self._begin(event, event.request, "preempted", event.step + by_hand)

    def _finished(self, event: ev.Finished) -> None:
        self._end(event.request, event.step)

    def failed(self, event: ev.StepFailed, batch: tuple[ev.Work, ...]) -> None:
        """Requests of a failed `batch` wait again, but those that the failure ended."""
        for work in batch:
            if work.request in event.ended:
                self._end(work.request, event.step)
            elif work.request in self._open:
                self._begin(event, work.request, "waiting", event.step + 1)


_PHASES: Final[Mapping[RequestState, PhaseName]] = {
    RequestState.WAITING: "waiting", RequestState.PREFILLING: "prefill", RequestState.RUNNING: "decode",
    RequestState.PREEMPTED: "preempted",
}  # fmt: skip

_HANDLERS: Final[Mapping[type[Event], Callable[[Phases, Any], None]]] = {
    ev.Submitted: Phases._submitted,
    ev.Forked: Phases._submitted,
    ev.Admitted: Phases._admitted,
    ev.Started: Phases._started,
    ev.Shared: Phases._started,
    ev.Preempted: Phases._preempted,
    ev.Finished: Phases._finished,
}
