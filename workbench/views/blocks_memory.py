"""Memory: where the pool's bytes are, what sharing saves, and what contiguous allocation would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.state import Request, RequestState, State
from sessions.header import Header
from workbench.bench import Scene
from workbench.views.request_column import request_column
from workbench.views.sizes import share, written_bytes
from workbench.widgets.columns import Column
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Bar, Line, Span

MOST_POOLS = 6
"""Bars of more pools than this are cut, so that the others can be seen."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The pool in token slots, each block counted once however many tables hold it."""

    block_size: int
    owned: int  # in blocks that a table holds
    filled: int  # of those, slots whose KV is there
    promised: int  # of those, slots that a prompt under prefill will fill
    cached: int
    free: int
    saved: int  # more slots that there would be if nothing were shared
    whole_context: int  # what the running requests would take, each in one piece of the model's context
    own_limit: int  # the same, each in one piece of prompt + max_tokens

    @property
    def wasted(self) -> int:
        """Slots of owned blocks that hold nothing, and that no prompt is about to fill."""
        return self.owned - self.filled - self.promised

    @property
    def pool(self) -> int:
        return self.owned + self.cached + self.free


def memory_of(state: State, about: Header) -> Memory:
    """Count; costs a look at each running request and sums over columns."""
    blocks, size = state.blocks, state.blocks.block_size
    running = state.running.values()
    context = about.shape.max_context
    return Memory(
        block_size=size,
        owned=blocks.owned * size,
        filled=sum(blocks.fill) - blocks.cached * size,
        promised=sum(_promised(request, size) for request in running),
        cached=blocks.cached * size,
        free=len(blocks.free) * size,
        saved=(sum(blocks.ref_count) - blocks.owned) * size,
        whole_context=len(running) * context,
        own_limit=sum(_limit(request, context) for request in running),
    )


def _promised(request: Request, size: int) -> int:
    if request.state is not RequestState.PREFILLING:
        return 0
    return min(len(request.table) * size, request.num_tokens) - request.computed


def _limit(request: Request, context: int) -> int:
    return min(context, request.prompt_tokens + request.params.max_tokens)


def per_token(about: Header, by: str = "×") -> str:
    """What a token takes, and why: `3.0 KiB = K, V × 6 layers × 2 KV heads × 32 × 4 B`.

    In fewer bits the bytes of a value come with its share of the scales, such as 1.125 B.
    """
    shape = about.shape
    values = 2 * shape.layers * shape.kv_heads * shape.head_dim
    whole = written_bytes(shape.kv_bytes_per_token)
    if not values:
        return whole
    each = f"{shape.kv_bytes_per_token / values:g} B"
    factors = (f"{shape.layers} layers", f"{shape.kv_heads} KV heads", str(shape.head_dim), each)
    return f" {by} ".join((f"{whole} = K, V", *factors))


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the account: so many token slots."""

    name: str
    slots: int
    ink: Ink
    note: str = ""
    part: bool = False  # of the line above


class MemoryTable:
    """The account as rows, with bars to one scale."""

    columns: Sequence[Column] = (
        Column("where", 22),
        Column("blocks", 6, "right", 3),
        Column("tokens", 7, "right", 2),
        Column("bytes", 8, "right"),
        Column("", least=4, priority=4),
        Column("", 6, "right", 1),
    )

    def __init__(self, scene: Scene) -> None:
        self.memory = memory_of(scene.moment.state, scene.record.about)
        self._token_bytes = scene.record.about.shape.kv_bytes_per_token
        self.items = items_of(self.memory, scene.glyphs.times)
        self._scale = min(max(item.slots for item in self.items), MOST_POOLS * self.memory.pool)

    def __len__(self) -> int:
        return len(self.items)

    def row(self, index: int) -> Sequence[Line]:
        item, size = self.items[index], self.memory.block_size
        ink: Ink = "dim" if item.part else "text"
        return (
            Span(f"  {item.name}" if item.part else item.name, ink),
            Span(f"{item.slots // size:,}" if item.slots % size == 0 else "", ink),
            Span(f"{item.slots:,}", ink),
            Span(written_bytes(item.slots * self._token_bytes), "dim" if item.part else "strong"),
            Bar(item.slots / self._scale, item.ink),
            Span(item.note, "dim"),
        )

    def changed(self, index: int) -> bool:  # noqa: ARG002
        return False


def items_of(memory: Memory, by: str = "×") -> list[Item]:
    """The lines of the account."""
    pool, owned = memory.pool, memory.owned
    promised = Item("promised to prompts", memory.promised, "prefill", share(memory.promised, owned), True)
    return [
        Item("in block tables", owned, "kv-owned", share(owned, pool)),
        Item("filled", memory.filled, "kv-owned", share(memory.filled, owned), True),
        *([promised] if memory.promised else []),
        Item("wasted, not filled", memory.wasted, "warn", share(memory.wasted, owned), True),
        Item("cached, evictable", memory.cached, "kv-cached", share(memory.cached, pool)),
        Item("free", memory.free, "kv-free", share(memory.free, pool)),
        Item("saved by sharing", memory.saved, "kv-shared", share(memory.saved, pool)),
        Item("contiguous, max tokens", memory.own_limit, "evicted", times(memory.own_limit, owned, by)),
        Item("contiguous, context", memory.whole_context, "bad", times(memory.whole_context, owned, by)),
    ]


def times(one: int, other: int, by: str) -> str:
    """`×8.5`: how many times `other` is in `one`."""
    return f"{by}{one / other:,.1f}" if other else "–"


REQUEST_COLUMNS = (
    Column("tokens", 6, "right", 4),
    Column("blocks", 6, "right"),
    Column("shared", 6, "right", 2),
    Column("empty", 5, "right", 3),
    Column("bytes", 8, "right"),
    Column("", least=4, priority=5),
)


class RequestMemory:
    """What each running request takes; a shared block counts for each of its holders."""

    def __init__(self, scene: Scene) -> None:
        self._state = scene.moment.state
        self._changes = scene.moment.changes
        self._block_bytes = scene.record.about.shape.kv_bytes_per_token * self._state.blocks.block_size
        self.requests = list(self._state.running.values())
        self.columns: Sequence[Column] = (request_column(each.id for each in self.requests), *REQUEST_COLUMNS)
        self._most = max((len(request.held_blocks) for request in self.requests), default=1)

    def __len__(self) -> int:
        return len(self.requests)

    def row(self, index: int) -> Sequence[Line]:
        request, refs = self.requests[index], self._state.blocks.ref_count
        size, count = self._state.blocks.block_size, len(request.held_blocks)
        shared = sum(refs[block] > 1 for block in request.held_blocks)
        empty = len(request.table) * size - request.computed
        return (
            request.id,
            Span(f"{count * size - empty:,}", "dim"),
            f"{count:,}",
            Span(f"{shared:,}" if shared else "–", "kv-shared" if shared else "faint"),
            Span(f"{empty:,}", "dim"),
            Span(written_bytes(count * self._block_bytes), "strong"),
            Bar(count / max(1, self._most), "kv-owned"),
        )

    def changed(self, index: int) -> bool:
        request = self.requests[index].id
        return request in self._changes.moved

    def index_of(self, request: str | None) -> int | None:
        return next((i for i, each in enumerate(self.requests) if each.id == request), None)


__all__ = ["Memory", "MemoryTable", "RequestMemory", "memory_of", "per_token"]
