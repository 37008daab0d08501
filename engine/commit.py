"""What becomes of a step's results: full blocks enter the radix tree, prefills end, samples start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine import events as ev
from engine.kv.blocks import NO_NODE
from engine.kv.prefix import find
from engine.kv.radix import ROOT, chain_hash
from engine.kv.seeds import seed_of
from engine.state import Request, State
from engine.tokens import TokenSource

Emit = Callable[[ev.Event], None]  # applies the event at once


def cache_full_blocks(state: State, log: TokenSource, request: Request, computed_from: int, emit: Emit) -> None:
    """Put the blocks that `request` has filled since position `computed_from` into the tree.

    A block whose place another block has taken stays private; it holds the same tokens, short of a collision.
    """
    size = state.blocks.block_size
    pure = request.pure_blocks(size)
    index, stop = computed_from // size, request.computed // size
    stop = stop if pure is None else min(stop, pure)
    if index >= stop:
        return
    hashes = _hashes(state, log, request, index, stop)
    while index < stop:
        index = _insert(state, log, request, index, stop, hashes, emit)


def _hashes(state: State, log: TokenSource, request: Request, start: int, stop: int) -> list[int]:
    """Chained hash of every block of the table below `stop`: those from `start` on have just become full."""
    size = state.blocks.block_size
    tokens = log.tokens_of(request.id)
    hashes = [state.blocks.hash[block] for block in request.table[:start]]
    for index in range(start, stop):
        previous = hashes[-1] if hashes else seed_of(request.params)
        hashes.append(chain_hash(previous, tokens[index * size : (index + 1) * size]))
    return hashes


def _insert(
    state: State, log: TokenSource, request: Request, index: int, stop: int, hashes: list[int], emit: Emit
) -> int:
    """Insert from table index `index` on; returns the index up to which blocks are settled."""
    place = _place_before(state, log, request, index, hashes)
    if (twin := _continuation(state, place, hashes[place.depth])) is not None:
        emit(
            _event(
                ev.KeptPrivate,
                state,
                request=request.id,
                index=index,
                block=request.table[index],
                hash=hashes[index],
                twin=twin,
            )
        )
        return index + 1
    _extend(state, request, place, stop, hashes, emit)
    return stop


@dataclass(frozen=True, slots=True)
class _Place:
    """The end of a cached prefix of `depth` blocks, `offset` blocks into `node`."""

    node: int
    offset: int
    depth: int


def _place_before(state: State, log: TokenSource, request: Request, index: int, hashes: list[int]) -> _Place:
    """Where the first `index` blocks of `request` end in the tree.

    Less deep than `index` when an ancestor has been evicted meanwhile: then the request's own private
    copies take its place.
    """
    if index and state.blocks.node[request.table[index - 1]] != NO_NODE:
        node, offset = state.tree.place_of(request.table[index - 1])
        return _Place(node.id, offset, index)
    walk = find(state, log, log.tokens_of(request.id), hashes[:index])
    return _Place(walk.node, walk.offset, len(walk.blocks))


def _continuation(state: State, place: _Place, hash_: int) -> int | None:
    """The cached block with `hash_` that comes next after `place`."""
    node = state.tree.nodes[place.node]
    if place.offset < len(node.blocks):
        following = node.blocks[place.offset]
        return following if state.blocks.hash[following] == hash_ else None
    child = node.children.get(hash_)
    return None if child is None else state.tree.nodes[child].blocks[0]


def _extend(state: State, request: Request, place: _Place, stop: int, hashes: list[int], emit: Emit) -> None:
    """Add the request's blocks after `place` up to `stop`, splitting a node where they part from it."""
    tree = state.tree
    if place.offset < len(tree.nodes[place.node].blocks):
        emit(_event(ev.Split, state, node=place.node, child=tree.next_id, at=place.offset))
    above = tree.nodes[place.node]
    created = above.id == ROOT or bool(above.children)
    emit(
        _event(
            ev.Cached,
            state,
            request=request.id,
            index=place.depth,
            blocks=tuple(request.table[place.depth : stop]),
            hashes=tuple(hashes[place.depth : stop]),
            node=tree.next_id if created else above.id,
            parent=above.id if created else above.parent,
            created=created,
        )
    )


def _event(kind: Callable[..., ev.Event], state: State, **fields: object) -> ev.Event:
    return kind(branch=state.branch, step=state.step, **fields)
