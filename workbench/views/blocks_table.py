"""BlockTable: a request's block table, logical index to physical block."""

from __future__ import annotations

from collections.abc import Sequence

from engine.kv.blocks import NO_NODE
from engine.kv.holes import HOLE
from engine.state import Request
from workbench.bench import Scene
from workbench.views.holders import holders
from workbench.widgets.columns import Column
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Bar, Line, Span, pieces

COLUMNS = (
    Column("index", 5, "right"),
    Column("block", 6, "right"),
    Column("positions", 11, "right", 4),
    Column("fill", 5, "right"),
    Column("", 4, priority=5),
    Column("ref", 3, "right", 1),
    Column("also in", 8, priority=2),
    Column("node", 5, "right", 6),
    Column("hash", 8, priority=7),
    Column("first … last token", least=14, priority=3),
)
NONE = Span("–", "faint")


class BlockTable:
    """Rows of a live request's table, read as they come on the screen."""

    columns: Sequence[Column] = COLUMNS

    def __init__(self, scene: Scene, request: Request) -> None:
        self.table = list(request.table)
        self._request = request.id
        self._dropped = dict(request.dropped)
        self._record = scene.record
        self._state = scene.moment.state
        self._changes = scene.moment.changes
        self._ids = scene.record.token_ids(request.id)

    def __len__(self) -> int:
        return len(self.table)

    def row(self, index: int) -> Sequence[Line]:
        blocks, block = self._state.blocks, self.table[index]
        if block == HOLE:
            return self._hole(index)
        size, fill = blocks.block_size, blocks.fill[block]
        others = [each for each in holders(self._state, block) if each != self._request]
        shared = len(others) > 0
        ink: Ink = "kv-shared" if shared else "kv-owned"
        node, hash_ = blocks.node[block], blocks.hash[block]
        return (
            str(index),
            Span(str(block), ink),
            Span(f"{index * size}–{(index + 1) * size - 1}", "dim"),
            Span(f"{fill}/{size}", "text" if fill == size else "warn"),
            Bar(fill / size, ink),
            Span(str(blocks.ref_count[block]), ink if shared else "dim"),
            Span(" ".join(others), "kv-shared") if others else NONE,
            NONE if node == NO_NODE else str(node),
            Span(written_hash(hash_), "dim") if hash_ else NONE,
            self._ends(index * size, fill),
        )

    def _hole(self, index: int) -> Sequence[Line]:
        """A block that a KV policy dropped: whose rows go without, and what they do not read."""
        size = self._state.blocks.block_size
        since = Span(f"unread from row {self._dropped[index]:,} on  ", "evicted")
        positions = Span(f"{index * size}–{(index + 1) * size - 1}", "dim")
        return (
            str(index), Span("gone", "evicted"), positions, NONE, "", NONE, NONE, NONE, NONE,
            [since, *pieces(self._ends(index * size, size))],
        )  # fmt: skip

    def changed(self, index: int) -> bool:
        block = self.table[index]
        if block == HOLE:
            return index in self._changes.dropped.get(self._request, ())
        return block in self._changes.blocks or block in self._changes.written

    def index_of(self, block: int | None) -> int | None:
        """The row of a block, None where the request does not hold it."""
        if block is None:
            return None
        index = self._state.blocks.index[block]
        return index if index < len(self) and self.table[index] == block else None

    def _ends(self, start: int, fill: int) -> Line:
        """The first and the last token whose KV is in the block."""
        positions = [start, start + fill - 1] if fill > 1 else [start] if fill else []
        texts = [self._record.token_text(self._ids[at]) for at in positions if at < len(self._ids)]
        if not texts:
            return Span("nothing computed yet", "faint")
        parts: list[Span] = [Span(f"'{texts[0]}'")]
        return [*parts, Span(" … ", "faint"), Span(f"'{texts[1]}'")] if len(texts) > 1 else parts


def written_hash(hash_: int) -> str:
    """The first eight digits of a block's chained hash."""
    return f"{hash_:014x}"[:8]


__all__ = ["BlockTable", "written_hash"]
