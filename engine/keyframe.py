"""The whole state as columns of bytes and back: where a seek through a session starts folding.

A long column comes in pages of `PAGE` entries, so that a store can share pages that did not change.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from engine.events import Work
from engine.ids import request_code, request_of
from engine.kv.blocks import NO_NODE
from engine.kv.eviction import EvictionOrder
from engine.kv.radix import ROOT, Ghost, Node
from engine.params import SamplingParams
from engine.reasons import AwaitsPrefill, BehindOlder, WaitReason
from engine.state import Request, RequestState, State, Totals

PAGE: Final = 4096
_BLOCK_COLUMNS: Final = {
    "ref_count": "i", "fill": "i", "node": "i", "index": "i",
    "writer": "q", "hash": "q", "last_use": "i", "hits": "i",
}  # fmt: skip
_NODE_COLUMNS: Final = ("id", "parent", "start", "created_step", "length")

Columns = dict[str, bytes]  # "name/page" -> little endian entries


class KeyframeError(ValueError):
    """Columns that do not make a state."""


class _RequestRow(msgspec.Struct, frozen=True, array_like=True):
    id: str
    arrival: int
    priority: int
    sample: int
    samples: int
    leader: str | None
    params: SamplingParams
    prompt_tokens: int
    num_tokens: int
    submitted_step: int
    state: str
    state_step: int
    computed: int
    cached_tokens: int
    table: tuple[int, ...]
    preemptions: int
    failures: int
    wait: WaitReason | None


class _Scalars(msgspec.Struct, frozen=True):
    num_blocks: int
    block_size: int
    eviction: str
    branch: int
    step: int
    next_request: int
    next_arrival: int
    next_node: int
    cached: int
    owned: int
    totals: Totals
    batch: tuple[Work, ...]


def pack(state: State) -> Columns:
    """`state` as columns. Cheap: copies of arrays, to be compressed and written elsewhere."""
    columns: Columns = {"scalars": msgspec.msgpack.encode(_scalars(state))}
    for name in _BLOCK_COLUMNS:
        columns.update(_pages(name, getattr(state.blocks, name)))
    columns.update(_pages("free", array("i", state.blocks.free)))
    columns["requests"] = msgspec.msgpack.encode([_request_row(r) for r in state.requests.values()])
    columns.update(_pack_tree(state))
    return columns


def unpack(columns: Mapping[str, bytes]) -> State:
    """The state that `pack` packed. Raises KeyframeError where the columns are not that."""
    try:
        return _unpack(columns)
    except (KeyError, IndexError, ValueError, AssertionError, msgspec.DecodeError) as error:
        raise KeyframeError(f"the keyframe is damaged: {type(error).__name__} {error}") from error


def _scalars(state: State) -> _Scalars:
    return _Scalars(
        state.blocks.num_blocks, state.blocks.block_size, state.evictable.policy.name, state.branch, state.step,
        state.next_request, state.next_arrival, state.tree.next_id, state.blocks.cached, state.blocks.owned,
        state.totals, state.batch,
    )  # fmt: skip


def _request_row(request: Request) -> _RequestRow:
    fields = {name: getattr(request, name) for name in _RequestRow.__struct_fields__}
    return _RequestRow(**fields | {"table": tuple(request.table), "state": request.state.value})


def _pack_tree(state: State) -> Columns:
    nodes = state.tree.nodes.values()
    columns: Columns = {}
    for name in _NODE_COLUMNS[:-1]:
        columns.update(_pages(f"node_{name}", array("i", (getattr(node, name) for node in nodes))))
    columns.update(_pages("node_length", array("i", (len(node.blocks) for node in nodes))))
    columns.update(_pages("node_blocks", array("i", (block for node in nodes for block in node.blocks))))
    ghosts = state.tree.ghosts
    columns.update(_pages("ghost_hash", array("q", ghosts)))
    columns.update(_pages("ghost_step", array("i", (ghost.step for ghost in ghosts.values()))))
    columns.update(_pages("ghost_for", array("q", (request_code(g.for_request) for g in ghosts.values()))))
    return columns


def _unpack(columns: Mapping[str, bytes]) -> State:
    scalars = msgspec.msgpack.decode(columns["scalars"], type=_Scalars)
    state = State(scalars.num_blocks, scalars.block_size, scalars.eviction)
    for name, code in _BLOCK_COLUMNS.items():
        column = _column(columns, name, code)
        if len(column) != scalars.num_blocks:
            raise ValueError(f"{name} has {len(column)} entries for {scalars.num_blocks} blocks")
        setattr(state.blocks, name, column)
    state.blocks.free = deque(_column(columns, "free", "i"))
    state.blocks.cached, state.blocks.owned = scalars.cached, scalars.owned
    _unpack_tree(state, columns, scalars.next_node)
    state.evictable = EvictionOrder(state.tree, state.blocks, state.evictable.policy)
    for row in msgspec.msgpack.decode(columns["requests"], type=list[_RequestRow]):
        _place(state, _request(row))
    state.waiting.sort()
    state.branch, state.step = scalars.branch, scalars.step
    state.next_request, state.next_arrival = scalars.next_request, scalars.next_arrival
    state.totals, state.batch = scalars.totals, scalars.batch
    return state


def _unpack_tree(state: State, columns: Mapping[str, bytes], next_node: int) -> None:
    rows = zip(*(_column(columns, f"node_{name}", "i") for name in _NODE_COLUMNS), strict=True)
    blocks, at = _column(columns, "node_blocks", "i"), 0
    for id_, parent, start, created, length in rows:
        state.tree.nodes[id_] = Node(id_, parent, start, created, list(blocks[at : at + length]))
        at += length
    for node in state.tree.nodes.values():
        if node.id != ROOT:
            state.tree.nodes[node.parent].children[state.blocks.hash[node.blocks[0]]] = node.id
    ghosts = zip(
        _column(columns, "ghost_hash", "q"), _column(columns, "ghost_step", "i"),
        _column(columns, "ghost_for", "q"), strict=True,
    )  # fmt: skip
    state.tree.ghosts = {hash_: Ghost(step, request_of(code)) for hash_, step, code in ghosts}
    state.tree.next_id = next_node
    assert state.tree.nodes[ROOT].parent == NO_NODE


def _request(row: _RequestRow) -> Request:
    fields: dict[str, Any] = {name: getattr(row, name) for name in _RequestRow.__struct_fields__}
    return Request(**fields | {"table": list(row.table), "state": RequestState(row.state)})


def _place(state: State, request: Request) -> None:
    state.requests[request.id] = request
    if request.state in (RequestState.WAITING, RequestState.PREEMPTED):
        state.waiting.append((request.rank, request.id))
        if not isinstance(request.wait, BehindOlder | AwaitsPrefill):
            state.fronts[request.id] = None
    else:
        state.running[request.id] = request


def _pages(name: str, column: array[int]) -> Iterable[tuple[str, bytes]]:
    starts = range(0, max(1, len(column)), PAGE)
    return [(f"{name}/{start // PAGE}", column[start : start + PAGE].tobytes()) for start in starts]


def _column(columns: Mapping[str, bytes], name: str, code: str) -> array[int]:
    column: array[int] = array(code)
    page = 0
    while (data := columns.get(f"{name}/{page}")) is not None:
        column.frombytes(data)
        page += 1
    if page == 0:
        raise KeyError(name)
    return column
