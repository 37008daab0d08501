"""The whole state as columns of bytes and back: where a seek through a session starts folding.

A long column comes in pages of `PAGE` entries, so that a store can share pages that did not change. The
first page of a queue shrinks as entries leave at its head, and the others stay as they are:

    free    | . 7 9 | 4 2 8 | 1 5 |    one block was taken since the start
            | . . . | . 2 8 | 1 5 6 | 3 |    four were, and two came back
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

import msgspec

from engine.beams import Search
from engine.drafting import Draft, Recent
from engine.events import Work
from engine.ids import request_code
from engine.kv.blocks import COLUMNS, HostBlock
from engine.kv.ghosts import Ghosts, PackedGhosts
from engine.kv.nodes import Nodes, PackedNodes
from engine.kv.radix import RadixTree
from engine.params import SamplingParams
from engine.reasons import AwaitsPrefill, BehindOlder, WaitReason
from engine.state import Request, RequestState, State, Totals

PAGE: Final = 4096
_GHOST_COLUMNS: Final = {"ghost_hash": "q", "ghost_step": "i", "ghost_for": "q"}
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
    parent: str | None = None
    forked_at: int = 0
    pure_tokens: int | None = None
    dropped: dict[int, int] = {}
    weights: dict[int, float] = {}
    draft: Draft | None = None
    recent: Recent = ()
    search: str | None = None
    score: float = 0.0
    line: int | None = None


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
    taken: int
    forgotten: int
    totals: Totals
    batch: tuple[Work, ...]
    policy: str = ""  # keyframes of the first version do not say it: it was the run's all along
    searches: tuple[Search, ...] = ()


def pack(state: State) -> Columns:
    """`state` as columns. Cheap: copies of arrays, to be compressed and written elsewhere."""
    columns: Columns = {"scalars": msgspec.msgpack.encode(_scalars(state))}
    for name in COLUMNS:
        columns.update(_pages(name, getattr(state.blocks, name)))
    columns.update(_pages("free", array("i", state.blocks.free), state.blocks.taken))
    columns["requests"] = msgspec.msgpack.encode([_request_row(r) for r in state.requests.values()])
    columns.update(_pack_tree(state))
    return columns | _pack_host(state)


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
        state.blocks.taken, state.tree.ghosts.forgotten, state.totals, state.batch, state.policy,
        tuple(state.searches.values()),
    )  # fmt: skip


def _request_row(request: Request) -> _RequestRow:
    fields = {name: getattr(request, name) for name in _RequestRow.__struct_fields__}
    return _RequestRow(**fields | {"table": tuple(request.table), "state": request.state.value})


def _pack_tree(state: State) -> Columns:
    nodes = list(state.tree.nodes.values())
    columns: Columns = {}
    for name in _NODE_COLUMNS[:-1]:
        columns.update(_pages(f"node_{name}", array("i", (getattr(node, name) for node in nodes))))
    columns.update(_pages("node_length", array("i", (len(node.blocks) for node in nodes))))
    columns.update(_pages("node_blocks", array("i", (block for node in nodes for block in node.blocks))))
    return columns | _pack_ghosts(state.tree)


def _pack_host(state: State) -> Columns:
    """What lies in host files, in the order of its use; no columns where nothing does."""
    columns: Columns = {}
    kept = state.offloaded.values()
    if kept:
        columns.update(_pages("host_hash", array("q", state.offloaded)))
        columns.update(_pages("host_writer", array("q", [each.writer for each in kept])))
        columns.update(_pages("host_index", array("i", [each.at for each in kept])))
    return columns


def _unpack_host(state: State, columns: Mapping[str, bytes]) -> None:
    if "host_hash/0" in columns:
        named = zip(_column(columns, "host_writer", "q"), _column(columns, "host_index", "i"), strict=True)
        kept = (HostBlock(*each) for each in named)
        state.offloaded = dict(zip(_column(columns, "host_hash", "q"), kept, strict=True))


def _pack_ghosts(tree: RadixTree) -> Columns:
    known, gone = tree.ghosts.known, tree.ghosts.forgotten
    ghosts = known.values()
    columns: Columns = {}
    columns.update(_pages("ghost_hash", array("q", known), gone))
    columns.update(_pages("ghost_step", array("i", [ghost.step for ghost in ghosts]), gone))
    columns.update(_pages("ghost_for", array("q", [request_code(ghost.for_request) for ghost in ghosts]), gone))
    return columns


def _unpack(columns: Mapping[str, bytes]) -> State:
    scalars = msgspec.msgpack.decode(columns["scalars"], type=_Scalars)
    state = State(0, scalars.block_size, scalars.eviction, scalars.policy)  # columns come as they are
    state.blocks.num_blocks = scalars.num_blocks
    for name, code in COLUMNS.items():
        column = _column(columns, name, code)
        if len(column) != scalars.num_blocks:
            raise ValueError(f"{name} has {len(column)} entries for {scalars.num_blocks} blocks")
        setattr(state.blocks, name, column)
    state.blocks.free = deque(_column(columns, "free", "i"))
    state.blocks.cached, state.blocks.owned, state.blocks.taken = scalars.cached, scalars.owned, scalars.taken
    state.tree.next_id = scalars.next_node
    _unpack_tree(state, columns, scalars.forgotten)
    _unpack_host(state, columns)
    for row in msgspec.msgpack.decode(columns["requests"], type=list[_RequestRow]):
        _place(state, _request(row))
    state.waiting.sort()
    state.branch, state.step = scalars.branch, scalars.step
    state.next_request, state.next_arrival = scalars.next_request, scalars.next_arrival
    state.totals, state.batch = scalars.totals, scalars.batch
    state.searches = {search.id: search for search in scalars.searches}
    return state


def _unpack_tree(state: State, columns: Mapping[str, bytes], forgotten: int) -> None:
    ids, parents, starts, created, lengths, blocks = (
        _column(columns, f"node_{name}", "i") for name in (*_NODE_COLUMNS, "blocks")
    )
    packed = PackedNodes(ids, parents, starts, created, lengths, blocks)
    packed.check(state.blocks.num_blocks)
    state.tree.nodes = Nodes(state.blocks, packed)
    ghosts = PackedGhosts(*(_column(columns, name, code) for name, code in _GHOST_COLUMNS.items()))
    if not len(ghosts.hash) == len(ghosts.step) == len(ghosts.code):
        raise ValueError("columns of ghosts differ in length")
    state.tree.ghosts = Ghosts(ghosts, forgotten)


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


def _pages(name: str, column: array[int], gone: int = 0) -> Iterable[tuple[str, bytes]]:
    """The pages of a column; of a queue, `gone` entries have left."""
    edges = [0, *range(PAGE - gone % PAGE, len(column), PAGE), len(column)]
    return [(f"{name}/{i}", column[start:stop].tobytes()) for i, (start, stop) in enumerate(pairwise(edges))]


def _column(columns: Mapping[str, bytes], name: str, code: str) -> array[int]:
    pages: list[bytes] = []
    while (data := columns.get(f"{name}/{len(pages)}")) is not None:
        pages.append(data)
    if not pages:
        raise KeyError(name)
    return array(code, b"".join(pages))
