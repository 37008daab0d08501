"""What events of blocks and of the radix tree do to the bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine import events as ev
from engine.ids import request_code
from engine.kv.holes import held
from engine.kv.holes import inherited as inherited_drops
from engine.kv.radix import Ghost

if TYPE_CHECKING:
    from engine.state import State


def inherited(state: State, event: ev.Inherited) -> None:
    request = state.requests[event.request]
    assert not request.table
    state.blocks.hold(held(event.blocks), event.step)
    request.table.extend(event.blocks)
    source = state.requests[event.source]
    request.dropped = inherited_drops(source.dropped, len(event.blocks), event.tokens)
    request.weights = {index: weight for index, weight in source.weights.items() if index < len(event.blocks)}


def prefix_matched(state: State, event: ev.PrefixMatched) -> None:
    request = state.requests[event.request]
    assert not request.table
    state.blocks.hold(event.blocks, event.step)
    for block in event.blocks:
        state.blocks.hits[block] += 1
    request.table.extend(event.blocks)
    state.totals.looked_up_tokens += event.looked_up
    state.totals.hit_tokens += event.tokens


def evicted(state: State, event: ev.Evicted) -> None:
    parent = state.tree.nodes[event.node].parent
    state.tree.trim(event.node, event.blocks, Ghost(event.step, event.for_request))
    state.evictable.note(event.node if event.node in state.tree.nodes else parent)
    state.totals.evicted_blocks += len(event.blocks)


def allocated(state: State, event: ev.Allocated) -> None:
    request = state.requests[event.request]
    assert len(request.table) == event.index
    state.blocks.take(event.blocks, event.index, request_code(request.id), event.step)
    request.table.extend(event.blocks)


def copied(state: State, event: ev.Copied) -> None:
    request = state.requests[event.request]
    assert request.table[event.index] == event.source
    state.blocks.take((event.block,), event.index, request_code(request.id), event.step)
    state.blocks.fill[event.block] = event.tokens
    request.table[event.index] = event.block
    state.release((event.source,))


def cached(state: State, event: ev.Cached) -> None:
    for block, hash_ in zip(event.blocks, event.hashes, strict=True):
        state.blocks.hash[block] = hash_
    state.tree.append(event.node, event.parent, event.created, event.blocks, event.step)


def split(state: State, event: ev.Split) -> None:
    state.tree.split(event.node, event.child, event.at, event.step)
    state.evictable.note(event.child)


def kept_private(state: State, event: ev.KeptPrivate) -> None:
    state.blocks.hash[event.block] = event.hash


APPLY: Mapping[type[ev.Event], Callable[[State, Any], None]] = {
    ev.Inherited: inherited,
    ev.PrefixMatched: prefix_matched,
    ev.Evicted: evicted,
    ev.Allocated: allocated,
    ev.Copied: copied,
    ev.Cached: cached,
    ev.Split: split,
    ev.KeptPrivate: kept_private,
}
