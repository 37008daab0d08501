"""Changes: what the events of one step did to blocks, nodes and requests, for every view to highlight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from engine import events as ev
from engine.state import RequestState, State


class Move(NamedTuple):
    """A request's state before and after the step; `before` is None when it arrived in it."""

    before: RequestState | None
    after: RequestState


@dataclass(slots=True)
class Changes:
    """What one step changed. A block may be in several sets: evicted, then taken by another request."""

    taken: set[int] = field(default_factory=set)  # a table got it fresh (allocated, copied into)
    matched: set[int] = field(default_factory=set)  # one more table holds it (prefix hit, shared by a sample)
    freed: set[int] = field(default_factory=set)  # it is free now and was not
    cached: set[int] = field(default_factory=set)  # it entered the tree
    evicted: set[int] = field(default_factory=set)  # it left the tree
    released: set[int] = field(default_factory=set)  # a table gave it up
    written: set[int] = field(default_factory=set)  # slots of it were computed
    nodes_created: set[int] = field(default_factory=set)
    nodes_split: set[int] = field(default_factory=set)  # both halves
    nodes_grown: set[int] = field(default_factory=set)
    nodes_trimmed: set[int] = field(default_factory=set)  # still there, shorter
    nodes_removed: set[int] = field(default_factory=set)
    moved: dict[str, Move] = field(default_factory=dict)
    new_tokens: dict[str, list[int]] = field(default_factory=dict)  # positions, by request
    scheduled: dict[str, ev.Work] = field(default_factory=dict)

    @property
    def blocks(self) -> set[int]:
        """Every block that changed hands or state (not those only written into)."""
        return self.taken | self.matched | self.freed | self.cached | self.evicted | self.released

    @property
    def nodes(self) -> set[int]:
        """Every node that is there and changed shape."""
        return self.nodes_created | self.nodes_split | self.nodes_grown | self.nodes_trimmed

    def request_changed(self, request: str) -> bool:
        """Whether the step moved the request to another state or gave it a token."""
        return request in self.moved or request in self.new_tokens


def fold(state: State, events: Sequence[ev.AnyEvent]) -> Changes:
    """Apply the events of one step to `state`, and return what they changed."""
    changes = Changes()
    for event in events:
        for request in _speaks_of(state, event):
            live = state.requests.get(request)
            if live is not None and request not in changes.moved:
                changes.moved[request] = Move(live.state, live.state)
        if (before := _BEFORE.get(type(event))) is not None:
            before(changes, state, event)
        state.apply(event)
        if (after := _AFTER.get(type(event))) is not None:
            after(changes, state, event)
    _settle(changes, state)
    return changes


def _speaks_of(state: State, event: ev.AnyEvent) -> Sequence[str]:
    if isinstance(event, ev.StepFailed):
        return [work.request for work in state.batch]
    if isinstance(event, ev.Admitted | ev.Preempted | ev.Started | ev.Shared | ev.Finished):
        return [event.request]
    return ()


def _settle(changes: Changes, state: State) -> None:
    """Compare with how things ended: a move back is none, a freed block that was taken again is not free."""
    for request, move in list(changes.moved.items()):
        live = state.requests.get(request)
        after = RequestState.FINISHED if live is None else live.state
        if after is move.before:
            del changes.moved[request]
        else:
            changes.moved[request] = Move(move.before, after)
    gone = changes.released | changes.evicted
    changes.freed = {block for block in gone if state.blocks.state(block) == "free"}
    for nodes in (changes.nodes_created, changes.nodes_split, changes.nodes_grown, changes.nodes_trimmed):
        nodes &= state.tree.nodes.keys()


def _give_up(changes: Changes, state: State, event: ev.Preempted | ev.Finished) -> None:
    live = state.requests.get(event.request)
    if live is not None:
        changes.released.update(live.table)


def _fail(changes: Changes, state: State, _event: ev.StepFailed) -> None:
    for work in state.batch:
        if work.request in state.requests:
            changes.released.update(state.requests[work.request].table)


def _submitted(changes: Changes, _state: State, event: ev.Submitted) -> None:
    changes.moved[event.request] = Move(None, RequestState.WAITING)


def _matched(changes: Changes, _state: State, event: ev.PrefixMatched) -> None:
    changes.matched.update(event.blocks)


def _shared(changes: Changes, state: State, event: ev.Shared) -> None:
    changes.matched.update(state.requests[event.request].table)


def _allocated(changes: Changes, _state: State, event: ev.Allocated) -> None:
    changes.taken.update(event.blocks)


def _copied(changes: Changes, _state: State, event: ev.Copied) -> None:
    changes.taken.add(event.block)
    changes.released.add(event.source)


def _evicted(changes: Changes, state: State, event: ev.Evicted) -> None:
    changes.evicted.update(event.blocks)
    (changes.nodes_trimmed if event.node in state.tree.nodes else changes.nodes_removed).add(event.node)


def _cached(changes: Changes, _state: State, event: ev.Cached) -> None:
    changes.cached.update(event.blocks)
    (changes.nodes_created if event.created else changes.nodes_grown).add(event.node)


def _split(changes: Changes, _state: State, event: ev.Split) -> None:
    changes.nodes_split.update((event.node, event.child))


def _scheduled(changes: Changes, state: State, event: ev.Scheduled) -> None:
    size = state.blocks.block_size
    for work in event.batch:
        changes.scheduled[work.request] = work
        table = state.requests[work.request].table
        changes.written.update(table[work.start // size : (work.stop - 1) // size + 1])


def _token(changes: Changes, _state: State, event: ev.Token) -> None:
    changes.new_tokens.setdefault(event.request, []).append(event.position)


_BEFORE: Final[Mapping[type[ev.Event], Callable[[Changes, State, Any], None]]] = {
    ev.Preempted: _give_up,
    ev.Finished: _give_up,
    ev.StepFailed: _fail,
    ev.Submitted: _submitted,
}
_AFTER: Final[Mapping[type[ev.Event], Callable[[Changes, State, Any], None]]] = {
    ev.PrefixMatched: _matched,
    ev.Shared: _shared,
    ev.Allocated: _allocated,
    ev.Copied: _copied,
    ev.Evicted: _evicted,
    ev.Cached: _cached,
    ev.Split: _split,
    ev.Scheduled: _scheduled,
    ev.Token: _token,
}

__all__ = ["Changes", "Move", "fold"]
