"""What events of whole steps do to the bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine import events as ev
from engine.ids import request_code

if TYPE_CHECKING:
    from engine.state import State


def scheduled(state: State, event: ev.Scheduled) -> None:
    state.batch = event.batch
    for work in event.batch:
        state.requests[work.request].wait = None


def computed(state: State, event: ev.Computed) -> None:
    size = state.blocks.block_size
    for work in event.batch:
        request = state.requests[work.request]
        assert request.computed == work.start
        request.computed = work.stop
        request.draft = None
        code = request_code(request.id)
        for index in range(work.start // size, (work.stop - 1) // size + 1):
            block = request.table[index]
            state.blocks.fill[block] = min(size, work.stop - index * size)
            state.blocks.writer[block] = code  # of samples that shared it, the one that went on in it
        state.totals.computed_tokens += work.tokens


def step_committed(state: State, _event: ev.StepCommitted) -> None:
    state.batch = ()


def step_failed(state: State, event: ev.StepFailed) -> None:
    state.roll_back(event.ended, failed=event.error != ev.ABANDONED)


def branched(state: State, event: ev.Branched) -> None:
    state.branch = event.branch


def policy_changed(state: State, event: ev.PolicyChanged) -> None:
    state.policy = event.policy


APPLY: Mapping[type[ev.Event], Callable[[State, Any], None]] = {
    ev.Scheduled: scheduled,
    ev.Computed: computed,
    ev.StepCommitted: step_committed,
    ev.StepFailed: step_failed,
    ev.Branched: branched,
    ev.PolicyChanged: policy_changed,
}
