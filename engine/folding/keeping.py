"""What events of what is kept of the cache do to the bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine import events as ev
from engine.kv.blocks import HostBlock
from engine.kv.holes import HOLE

if TYPE_CHECKING:
    from engine.state import State


def weighed(state: State, event: ev.Weighed) -> None:
    weights = state.requests[event.request].weights
    for index, weight in zip(event.indexes, event.weights, strict=True):
        weights[index] = weights.get(index, 0.0) + weight


def dropped(state: State, event: ev.Dropped) -> None:
    request = state.requests[event.request]
    assert event.position == request.computed
    for index, block in zip(event.indexes, event.blocks, strict=True):
        assert request.table[index] == block
        assert (index + 1) * state.blocks.block_size <= request.computed, "only full blocks are dropped"
        request.table[index] = HOLE
        request.dropped[index] = event.position
        request.weights.pop(index, None)
    state.release(event.blocks)
    state.totals.dropped_tokens += event.tokens


def uncached(state: State, event: ev.Uncached) -> None:
    parent = state.tree.nodes[event.node].parent
    state.tree.detach(event.node, event.blocks)
    state.evictable.note(event.node if event.node in state.tree.nodes else parent)


def offloaded(state: State, event: ev.Offloaded) -> None:
    for hash_ in event.forgotten:
        state.offloaded.pop(hash_, None)
    for block, hash_ in zip(event.blocks, event.hashes, strict=True):
        state.offloaded[hash_] = HostBlock(state.blocks.writer[block], state.blocks.index[block])
    state.totals.offloaded_blocks += len(event.blocks)


def loaded(state: State, event: ev.Loaded) -> None:
    request = state.requests[event.request]
    assert tuple(request.table[event.index : event.index + len(event.blocks)]) == event.blocks
    for block, hash_ in zip(event.blocks, event.hashes, strict=True):
        state.blocks.fill[block] = state.blocks.block_size
        state.blocks.hash[block] = hash_
        if (kept := state.offloaded.pop(hash_, None)) is not None:
            state.offloaded[hash_] = kept  # used last
    state.totals.loaded_blocks += len(event.blocks)


def offload_lost(state: State, event: ev.OffloadLost) -> None:
    state.offloaded.pop(event.hash, None)


APPLY: Mapping[type[ev.Event], Callable[[State, Any], None]] = {
    ev.Weighed: weighed,
    ev.Dropped: dropped,
    ev.Uncached: uncached,
    ev.Offloaded: offloaded,
    ev.Loaded: loaded,
    ev.OffloadLost: offload_lost,
}
