"""How an event moves blocks: one change per block, from the state on both sides of the event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from engine import events as ev
from engine.kv.holes import HOLE
from engine.state import State
from sessions.records import BlockChange, BlockChangeName

Moved = tuple[int, BlockChangeName, str | None, int]  # block, change, request, index in its table

_TAKEN: Final[dict[type[ev.Event], BlockChangeName]] = {
    ev.Allocated: "allocated",
    ev.Cached: "cached",
}


def given_up(state: State, event: ev.Event) -> list[Moved]:
    """The blocks that `event`, not yet applied to `state`, takes from requests."""
    if isinstance(event, ev.Preempted | ev.Finished):
        return _table(state, event.request, "released")
    if isinstance(event, ev.StepFailed):
        released = [moved for work in state.batch for moved in _table(state, work.request, "released")]
        return list({moved[0]: moved for moved in released}.values())  # told once if several held it
    if isinstance(event, ev.GivenBack):
        return list(_numbered(event.blocks, "released", event.request, event.index))
    if isinstance(event, ev.Copied):
        return [(event.source, "released", event.request, event.index)]
    if isinstance(event, ev.Dropped):
        pairs = zip(event.blocks, event.indexes, strict=True)
        return [(block, "dropped", event.request, index) for block, index in pairs]
    return []


def taken(state: State, event: ev.Event) -> Iterable[Moved]:
    """The blocks that `event`, applied to `state`, gave to requests, or moved into or out of the tree."""
    if isinstance(event, ev.Allocated | ev.Cached):
        return _numbered(event.blocks, _TAKEN[type(event)], event.request, event.index)
    if isinstance(event, ev.PrefixMatched):
        return _numbered(event.blocks, "matched", event.request, 0)
    if isinstance(event, ev.Inherited):
        return [moved for moved in _numbered(event.blocks, "shared", event.request, 0) if moved[0] != HOLE]
    if isinstance(event, ev.Copied):
        return [(event.block, "copied", event.request, event.index)]
    if isinstance(event, ev.Shared):
        return _table(state, event.request, "shared")
    if isinstance(event, ev.KeptPrivate):
        return [(event.block, "kept_private", event.request, event.index)]
    if isinstance(event, ev.Uncached):
        of_block = state.blocks.index
        return [(block, "uncached", event.request, of_block[block]) for block in event.blocks]
    if isinstance(event, ev.Evicted):
        return [(block, "evicted", event.for_request or None, -1) for block in event.blocks]
    return ()


def changes(state: State, event: ev.Event, seq: int, moved: Iterable[Moved]) -> list[BlockChange]:
    """The changes that `moved` stands for, after `event` was applied to `state`."""
    refs, state_of = state.blocks.ref_count, state.blocks.state
    at = (event.branch, event.step)
    return [
        BlockChange(at[0], block, seq, at[1], change, request, index, refs[block], state_of(block))
        for block, change, request, index in moved
    ]


def _numbered(blocks: Sequence[int], change: BlockChangeName, request: str, index: int) -> Iterable[Moved]:
    return ((block, change, request, index + offset) for offset, block in enumerate(blocks))


def _table(state: State, request: str, change: BlockChangeName) -> list[Moved]:
    live = state.requests.get(request)
    table = [] if live is None else enumerate(live.table)
    return [(block, change, request, index) for index, block in table if block != HOLE]
