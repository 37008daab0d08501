"""RadixRows: the radix tree of a moment, as a tree pane draws it: nodes are read as they come on the screen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from engine.ids import request_of
from engine.kv.radix import ROOT, Node
from engine.state import State
from workbench.bench import Scene
from workbench.views.holders import holders, named
from workbench.widgets.columns import Column
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Line, Span

COLUMNS = (
    Column("node", 5, "right", 1),
    Column("tokens", 6, "right"),
    Column("ref", 5, "right"),
    Column("hits", 4, "right", 2),
    Column("used", 6, "right", 3),
    Column("evict", 9),
)
LABEL_TOKENS = 24
MOST_NAMES = 4
TokenIds = Callable[[str], Sequence[int]]
NONE = Span("–", "faint")


class RadixRows:
    """The tree below the root. `lit` is the selected request's path, `order` who is evicted when (from 1)."""

    columns: Sequence[Column] = COLUMNS

    def __init__(self, scene: Scene, lit: Collection[int], order: Mapping[int, int]) -> None:
        self._record = scene.record
        self._state = scene.moment.state
        self._tree = self._state.tree
        self._changes = scene.moment.changes
        self._lit = lit
        self._order = order
        self._glyphs = scene.glyphs

    def __len__(self) -> int:
        return len(self._tree.nodes) - 1

    def roots(self) -> Sequence[int]:
        return self.children(ROOT)

    def children(self, node: int) -> Sequence[int]:
        here = self._tree.nodes.get(node)
        return list(here.children.values()) if here else []

    def changed(self, node: int) -> bool:
        return node in self._changes.nodes

    def lit(self, node: int) -> bool:
        return node in self._lit

    def label(self, node: int) -> Line:
        if node not in self._tree.nodes:  # a state may be folded on before a paint
            return ""
        ids = edge_ids(self._state, self._record.token_ids, node, LABEL_TOKENS)
        common = self._common_with_siblings(node, ids)
        text = self._record.token_text
        ink: Ink = "strong" if node in self._lit else "text"
        spans = [
            *self._holders(node),
            Span("".join(map(text, ids[:common])), "dim"),
            Span("".join(map(text, ids[common:])), ink),
        ]
        if (what := self.what_changed(node)) is not None:
            spans.insert(0, Span(f"{what} ", "changed"))
        return spans

    def _holders(self, node: int) -> list[Span]:
        """Who holds the head of the edge, with the mark that the block map has for it."""
        names = holders(self._state, self._tree.nodes[node].blocks[0])
        if not names:
            return [Span(f"{self._glyphs.cached} ", "kv-cached")]
        more = f" +{len(names) - MOST_NAMES}" if len(names) > MOST_NAMES else ""
        shown = " ".join(named(self._state, names[:MOST_NAMES])) + more
        if len(names) > 1:
            return [Span(f"{self._glyphs.shared} {shown}  ", "kv-shared")]
        return [Span(f"{self._glyphs.owned} {shown}  ", "kv-owned")]

    def cells(self, node: int) -> Sequence[Line]:
        if node not in self._tree.nodes:
            return [""] * len(self.columns)
        blocks, here = self._state.blocks, self._tree.nodes[node]
        first, last = here.blocks[0], here.blocks[-1]
        hits = blocks.hits[first]
        return (
            Span(str(node), "dim"),
            f"{len(here.blocks) * blocks.block_size:,}",
            self._refs(blocks.ref_count[first], blocks.ref_count[last]),
            str(hits) if hits else NONE,
            Span(f"{blocks.last_use[last]:,}", "dim"),
            self.eviction(node),
        )

    def what_changed(self, node: int) -> str | None:
        """What the step did to a node, in a word."""
        changes = self._changes
        if node in changes.nodes_split:
            return "split"
        if node in changes.nodes_created:
            return "new"
        if node in changes.nodes_trimmed:
            return "trimmed"
        return "grown" if node in changes.nodes_grown else None

    def eviction(self, node: int) -> Span:
        """Whether a node is protected, and if not, when its turn comes."""
        here, refs = self._tree.nodes[node], self._state.blocks.ref_count
        if refs[here.blocks[-1]]:
            return Span("protected", "kv-owned")
        if node in self._order:
            return Span(f"no. {self._order[node]}", "evicted")
        return Span("evictable" if not here.children else "inner", "kv-cached")

    @staticmethod
    def _refs(first: int, last: int) -> Line:
        """The ref count; where a table holds only the first blocks of the edge, those of both ends."""
        ink: Ink = "kv-shared" if first > 1 else "kv-owned" if first else "faint"
        return Span(str(first) if first == last else f"{first}→{last}", ink)

    def _common_with_siblings(self, node: int, ids: Sequence[int]) -> int:
        """How many leading tokens a neighbour has too: edges part at whole blocks, later than their tokens do."""
        siblings = self.children(self._tree.nodes[node].parent)
        if len(siblings) < 2 or len(siblings) > LABEL_TOKENS:
            return 0
        size = self._state.blocks.block_size
        others = (edge_ids(self._state, self._record.token_ids, each, size) for each in siblings if each != node)
        return max(common_length(ids[:size], other) for other in others)


def edge_ids(state: State, token_ids: TokenIds, node: int, most: int | None = None) -> list[int]:
    """The token ids on the edge to a node, from the requests that wrote its blocks."""
    here, size = state.tree.nodes[node], state.blocks.block_size
    count = len(here.blocks) if most is None else min(len(here.blocks), -(-most // size))
    ids: list[int] = []
    for offset, block in enumerate(here.blocks[:count]):
        start = (here.start + offset) * size
        ids += token_ids(request_of(state.blocks.writer[block]))[start : start + size]
    return ids if most is None else ids[:most]


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common prefix."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def path_to(state: State, node: int) -> list[int]:
    """The nodes from below the root down to `node`."""
    path: list[Node] = list(state.tree.path(node))
    return [each.id for each in reversed(path)]


__all__ = ["RadixRows", "common_length", "edge_ids", "path_to"]
