"""After a step: a KV policy says what a request goes on without, and its blocks are given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

from engine import events as ev
from engine.kv.blocks import NO_NODE
from engine.kv.holes import HOLE
from engine.kv.radix import Node
from engine.plugs_kv import Drop, KVOfRequest
from engine.state import Request, State

Emit = Callable[[ev.Event], None]  # applies the event at once


def kv_of(state: State, request: Request, start: int) -> KVOfRequest:
    """What a policy is told of a request that computed the positions from `start` on in this step."""
    size = state.blocks.block_size
    full = request.table[: request.computed // size]
    kept = tuple(index for index, block in enumerate(full) if block != HOLE)
    return KVOfRequest(
        request.id, request.prompt_tokens, start, request.computed, size, kept, request.weights.copy()
    )


def drop(state: State, request: Request, drop: Drop, policy: str, emit: Emit) -> None:
    """Give up the blocks that `policy` drops, and take out of the tree what keeps them from being evicted."""
    blocks = tuple(request.table[index] for index in drop.indexes)
    emit(
        ev.Dropped(
            branch=state.branch, step=state.step, request=request.id, indexes=drop.indexes, blocks=blocks,
            tokens=len(blocks) * state.blocks.block_size, position=request.computed, policy=policy,
            reason=drop.reason,
        )
    )  # fmt: skip
    for node, tail in _pinning(state, request):
        emit(ev.Uncached(branch=state.branch, step=state.step, request=request.id, node=node, blocks=tail))


def _pinning(state: State, request: Request) -> Iterator[tuple[int, tuple[int, ...]]]:
    """`(node, blocks)`: what `request` holds at the end of a leaf, behind a block that no one holds.

    Each must have left the tree before the next is asked for. Where others' blocks hang on below, those are
    what keeps the ones before them from being evicted.
    """
    listed = [block for block in request.held_blocks if state.blocks.node[block] != NO_NODE]
    while listed:
        node, end = state.tree.place_of(listed[-1])
        if node.children or end < len(node.blocks) or not _leads_to_unheld(state, node):
            return
        tail = _common_tail(listed, node.blocks)
        del listed[-len(tail) :]
        yield node.id, tail


def _leads_to_unheld(state: State, node: Node) -> bool:
    refs = state.blocks.ref_count
    return any(not refs[block] for above in state.tree.path(node.id) for block in above.blocks)


def _common_tail(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """What both end with, last one first."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return tuple(block for block, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
