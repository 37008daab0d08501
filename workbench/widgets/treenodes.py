"""The unfolded part of a tree as flat lists, so that drawing and moving never walk the tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from workbench.widgets.columns import Column
from workbench.widgets.spans import Line


class TreeModel(Protocol):
    """Nodes by number; the same number names the same node as long as it exists."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns at the right; all have a width."""
        ...

    def roots(self) -> Sequence[int]: ...

    def children(self, node: int) -> Sequence[int]: ...

    def label(self, node: int) -> Line: ...

    def cells(self, node: int) -> Sequence[Line]:
        """Return one cell for each column."""
        ...

    def changed(self, node: int) -> bool:
        """Whether this step made, split or moved the node."""
        ...

    def lit(self, node: int) -> bool:
        """Whether the node is on the highlighted path."""
        ...


class VisibleNodes:
    """The unfolded nodes in order, with their depths and, as bits, the depths whose trunk runs past them."""

    def __init__(self, model: TreeModel, unfolded: set[int]) -> None:
        self.model = model
        self.unfolded = unfolded
        self.nodes: list[int] = []
        self.depths: list[int] = []
        self.trunks: list[int] = []
        self._fill(0, model.roots(), 0, 0)

    def __len__(self) -> int:
        return len(self.nodes)

    def _fill(self, at: int, siblings: Sequence[int], depth: int, above: int) -> None:
        """Insert siblings and all that is unfolded below them at position `at`."""
        nodes: list[int] = []
        depths: list[int] = []
        trunks: list[int] = []
        stack = [(node, depth, self._trunk(above, depth, last)) for node, last in _from_last(siblings)]
        while stack:
            node, level, trunk = stack.pop()
            nodes.append(node)
            depths.append(level)
            trunks.append(trunk)
            if node in self.unfolded:
                below = _from_last(self.model.children(node))
                stack += [(child, level + 1, self._trunk(trunk, level + 1, last)) for child, last in below]
        self.nodes[at:at] = nodes
        self.depths[at:at] = depths
        self.trunks[at:at] = trunks

    @staticmethod
    def _trunk(above: int, depth: int, last: bool) -> int:
        return above if last else above | 1 << depth

    def unfold(self, position: int) -> None:
        """Show the children of the node at `position`."""
        node = self.nodes[position]
        if node in self.unfolded:
            return
        self.unfolded.add(node)
        self._fill(position + 1, self.model.children(node), self.depths[position] + 1, self.trunks[position])

    def fold(self, position: int) -> None:
        """Hide everything below the node at `position`."""
        self.unfolded.discard(self.nodes[position])
        end = position + 1
        while end < len(self.nodes) and self.depths[end] > self.depths[position]:
            end += 1
        for column in (self.nodes, self.depths, self.trunks):
            del column[position + 1 : end]

    def parent(self, position: int) -> int:
        """Return the position of the parent, or the position itself at a root."""
        depth = self.depths[position]
        above = (place for place in range(position - 1, -1, -1) if self.depths[place] < depth)
        return next(above, position)


def _from_last(siblings: Sequence[int]) -> Iterable[tuple[int, bool]]:
    """Yield siblings from the last to the first, so that a stack gives them back in order."""
    return ((node, index == 0) for index, node in enumerate(reversed(siblings)))
