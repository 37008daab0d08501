"""Changes: what the events of one step did to blocks, nodes and requests, for every view to highlight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from engine import events as ev
from engine.kv.holes import HOLE, held
from engine.state import RequestState, State


class Move(NamedTuple):
    """A request's state before and after the step; `before` is None when it arrived in it."""

    before: RequestState | None
    after: RequestState


@dataclass(slots=True)
class Changes:
    """What one step changed. A block may be in several sets: evicted, then taken by another request."""

    taken: set[int] = field(default_factory=set)  # a table got it fresh (allocated, copied into)
    matched: set[int] = field(
        default_factory=set
    )  # one more table holds it (prefix hit, shared by a sample or a fork)
    freed: set[int] = field(default_factory=set)  # it is free now and was not
    cached: set[int] = field(default_factory=set)  # it entered the tree
    evicted: set[int] = field(default_factory=set)  # it left the tree
    dropped: dict[str, set[int]] = field(default_factory=dict)  # table indexes, by request
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


def changes_of(events: Sequence[ev.AnyEvent], before: State, after: State) -> Changes:
    """What `events`, all of one step, changed between the states on both sides of it."""
    return _Reading(before, after).read(events)


class _Reading:
    """Walks the events once; `tables` are the block tables of the requests they touch."""

    def __init__(self, before: State, after: State) -> None:
        self.before = before
        self.after = after
        self.changes = Changes()
        self.tables: dict[str, list[int]] = {}
        self.touched: dict[str, None] = {}

    def read(self, events: Sequence[ev.AnyEvent]) -> Changes:
        for event in events:
            if isinstance(event, _MOVES):
                self.touched[event.request] = None
            if (handler := _HANDLERS.get(type(event))) is not None:
                handler(self, event)
        self._settle()
        return self.changes

    def _settle(self) -> None:
        changes, nodes = self.changes, self.after.tree.nodes.keys()
        for request in self.touched:
            move = Move(_state(self.before, request), _state(self.after, request) or RequestState.FINISHED)
            if move.before is not move.after:
                changes.moved[request] = move
        gone = changes.released | changes.evicted
        changes.freed = {block for block in gone if self.after.blocks.state(block) == "free"}
        for each in (changes.nodes_created, changes.nodes_split, changes.nodes_grown, changes.nodes_trimmed):
            each &= nodes

    def _table(self, request: str) -> list[int]:
        if request not in self.tables:
            live = self.before.requests.get(request)
            self.tables[request] = list(live.table) if live else []
        return self.tables[request]

    def _give_up(self, request: str) -> None:
        self.changes.released.update(held(self._table(request)))
        self.tables[request] = []

    def _gives_up(self, event: ev.Preempted | ev.Finished) -> None:
        self._give_up(event.request)

    def _failed(self, event: ev.StepFailed) -> None:
        for request in dict.fromkeys([*self.changes.scheduled, *event.ended]):
            self.touched[request] = None
            self._give_up(request)

    def _matched(self, event: ev.PrefixMatched | ev.Inherited) -> None:
        self.changes.matched.update(held(event.blocks))
        self._table(event.request).extend(event.blocks)

    def _shared(self, event: ev.Shared) -> None:
        self.tables[event.request] = list(self._table(event.source))
        self.changes.matched.update(held(self.tables[event.request]))

    def _allocated(self, event: ev.Allocated) -> None:
        self.changes.taken.update(event.blocks)
        self._table(event.request).extend(event.blocks)

    def _copied(self, event: ev.Copied) -> None:
        self.changes.taken.add(event.block)
        self.changes.released.add(event.source)
        self._table(event.request)[event.index] = event.block

    def _evicted(self, event: ev.Evicted) -> None:
        self.changes.evicted.update(event.blocks)
        self._trimmed(event.node)

    def _trimmed(self, node: int) -> None:
        still_there = node in self.after.tree.nodes
        (self.changes.nodes_trimmed if still_there else self.changes.nodes_removed).add(node)

    def _dropped(self, event: ev.Dropped) -> None:
        self.changes.released.update(event.blocks)
        self.changes.dropped.setdefault(event.request, set()).update(event.indexes)
        table = self._table(event.request)
        for index in event.indexes:
            table[index] = HOLE

    def _uncached(self, event: ev.Uncached) -> None:
        self.changes.evicted.update(event.blocks)
        self._trimmed(event.node)

    def _cached(self, event: ev.Cached) -> None:
        self.changes.cached.update(event.blocks)
        (self.changes.nodes_created if event.created else self.changes.nodes_grown).add(event.node)

    def _split(self, event: ev.Split) -> None:
        self.changes.nodes_split.update((event.node, event.child))

    def _scheduled(self, event: ev.Scheduled) -> None:
        size = self.after.blocks.block_size
        for work in event.batch:
            self.changes.scheduled[work.request] = work
            table = self._table(work.request)
            self.changes.written.update(table[work.start // size : (work.stop - 1) // size + 1])

    def _token(self, event: ev.Token) -> None:
        self.changes.new_tokens.setdefault(event.request, []).append(event.position)


def _state(state: State, request: str) -> RequestState | None:
    live = state.requests.get(request)
    return live.state if live else None


_MOVES: Final = (ev.Submitted, ev.Forked, ev.Admitted, ev.Preempted, ev.Started, ev.Shared, ev.Finished)

_HANDLERS: Final[Mapping[type[ev.Event], Callable[[_Reading, Any], None]]] = {
    ev.Preempted: _Reading._gives_up,
    ev.Finished: _Reading._gives_up,
    ev.StepFailed: _Reading._failed,
    ev.PrefixMatched: _Reading._matched,
    ev.Inherited: _Reading._matched,
    ev.Shared: _Reading._shared,
    ev.Allocated: _Reading._allocated,
    ev.Copied: _Reading._copied,
    ev.Evicted: _Reading._evicted,
    ev.Dropped: _Reading._dropped,
    ev.Uncached: _Reading._uncached,
    ev.Cached: _Reading._cached,
    ev.Split: _Reading._split,
    ev.Scheduled: _Reading._scheduled,
    ev.Token: _Reading._token,
}

__all__ = ["Changes", "Move", "changes_of"]
