"""What eviction would take next, in order, as rows."""

from __future__ import annotations

from collections.abc import Sequence

from engine.wording import ranges
from workbench.bench import Scene
from workbench.views.radix_tree import edge_ids
from workbench.views.victims import Going
from workbench.widgets.columns import Column
from workbench.widgets.spans import Line, Span


class EvictionRows:
    """Groups of blocks that would go in a row from one node."""

    columns: Sequence[Column] = (
        Column("no.", 4, "right"),
        Column("node", 5, "right"),
        Column("blocks", 12),
        Column("tokens", 6, "right", 2),
        Column("used", 5, "right", 1),
        Column("lost text", least=8, priority=3),
    )

    def __init__(self, scene: Scene, groups: Sequence[Going]) -> None:
        self._state = scene.moment.state
        self._record = scene.record
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def row(self, index: int) -> Sequence[Line]:
        going, blocks = self.groups[index], self._state.blocks
        return (
            Span(str(index + 1), "evicted"),
            str(going.node),
            Span(ranges(list(going.blocks), 3), "text"),
            Span(str(len(going.blocks) * blocks.block_size), "dim"),
            Span(f"{blocks.last_use[going.blocks[0]]:,}", "dim"),
            Span(self._lost(going), "dim"),
        )

    def changed(self, index: int) -> bool:  # noqa: ARG002
        return False

    def _lost(self, going: Going) -> str:
        """The beginning of the text that the cache would lose."""
        node, size = self._state.tree.nodes.get(going.node), self._state.blocks.block_size
        if node is None or going.blocks[-1] not in node.blocks:  # a state may be folded on before a paint
            return ""
        kept = node.blocks.index(going.blocks[-1])
        ids = edge_ids(self._state, self._record.token_ids, going.node)[kept * size :][:16]
        return "".join(map(self._record.token_text, ids))


__all__ = ["EvictionRows"]
