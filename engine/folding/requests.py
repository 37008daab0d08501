"""What events of a request's life do to the bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine import events as ev
from engine.beams import Search
from engine.reasons import Arrived, AwaitsPrefill
from engine.request import Request, RequestState

if TYPE_CHECKING:
    from engine.state import State


def submitted(state: State, event: ev.Submitted) -> None:
    request = Request(
        event.request,
        event.arrival,
        event.priority,
        event.sample,
        event.samples,
        event.leader,
        event.params,
        len(event.prompt_ids),
        len(event.prompt_ids),
        event.step,
    )
    state.requests[request.id] = request
    if event.params.beams > 1:
        request.search, request.line = request.id, request.arrival
        state.searches[request.id] = Search(request.id, request.arrival)
    wait = Arrived() if event.leader is None else AwaitsPrefill(event.leader)
    state.enqueue(request, RequestState.WAITING, wait)
    state.next_arrival = event.arrival + 1
    if event.sample == 0:
        state.next_request += 1
    state.totals.submitted += 1


def forked(state: State, event: ev.Forked) -> None:
    request = Request(
        event.request, event.arrival, event.priority, event.sample, 1, None, event.params,
        event.prompt_tokens, event.at_position + len(event.appended), event.step, event.parent,
        event.at_position, None if event.intervened is None else event.intervened.start,
    )  # fmt: skip
    state.requests[request.id] = request
    if event.search is not None:
        request.search, request.line = event.search, state.searches[event.search].arrival
    state.enqueue(request, RequestState.WAITING, Arrived())
    state.next_arrival = event.arrival + 1
    state.next_request += 1
    state.totals.submitted += 1


def waiting(state: State, event: ev.Waiting) -> None:
    state.note_wait(state.requests[event.request], event.reason)


def admitted(state: State, event: ev.Admitted) -> None:
    request = state.requests[event.request]
    state.dequeue(request)
    request.cached_tokens = request.computed = event.cached_tokens
    state.serve(request, RequestState.PREFILLING)


def started(state: State, event: ev.Started) -> None:
    state.serve(state.requests[event.request], RequestState.RUNNING)


def shared(state: State, event: ev.Shared) -> None:
    request, source = state.requests[event.request], state.requests[event.source]
    state.dequeue(request)
    request.table, request.dropped, request.weights = (
        list(source.table),
        dict(source.dropped),
        dict(source.weights),
    )
    state.blocks.hold(request.held_blocks, event.step)
    request.computed, request.cached_tokens = source.computed, source.cached_tokens
    request.leader = None
    state.serve(request, RequestState.RUNNING)


def preempted(state: State, event: ev.Preempted) -> None:
    request = state.requests[event.request]
    state.release_table(request)
    request.preemptions += 1
    state.totals.preemptions += 1
    state.enqueue(request, RequestState.PREEMPTED, None)


def token(state: State, event: ev.Token) -> None:
    request = state.requests[event.request]
    assert event.position == request.num_tokens
    assert request.draft is not None or request.computed == event.position
    request.num_tokens += 1
    request.failures = 0
    state.totals.output_tokens += 1


def finished(state: State, event: ev.Finished) -> None:
    request = state.requests[event.request]
    if request.state in (RequestState.WAITING, RequestState.PREEMPTED):
        state.dequeue(request)
    else:
        state.release_table(request)
    state.forget(request)


APPLY: Mapping[type[ev.Event], Callable[[State, Any], None]] = {
    ev.Submitted: submitted,
    ev.Forked: forked,
    ev.Waiting: waiting,
    ev.Admitted: admitted,
    ev.Started: started,
    ev.Shared: shared,
    ev.Preempted: preempted,
    ev.Token: token,
    ev.Finished: finished,
}
