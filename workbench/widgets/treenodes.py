"""The unfolded part of a tree as flat lists, so that drawing and moving never walk the tree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
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
        """Insert siblings and all that is unfolded below them at position `at`, runs of folded ones at once."""
        nodes: list[int] = []
        depths: list[int] = []
        trunks: list[int] = []
        stack = [(siblings, 0, depth, above)]
        while stack:
            row, start, level, outer = stack.pop()
            if start == len(row):
                continue
            end = self._next_unfolded(row, start)
            nodes += row[start : end + 1]
            depths += [level] * (end + 1 - start)
            trunks += [self._trunk(outer, level, last=False)] * (end - start)
            trunks.append(self._trunk(outer, level, last=end == len(row) - 1))
            stack.append((row, end + 1, level, outer))
            if row[end] in self.unfolded:
                stack.append((self.model.children(row[end]), 0, level + 1, trunks[-1]))
        self.nodes[at:at] = nodes
        self.depths[at:at] = depths
        self.trunks[at:at] = trunks

    def _next_unfolded(self, row: Sequence[int], start: int) -> int:
        """The index of the first unfolded node from `start` on; of the last node where none is."""
        last = len(row) - 1
        if self.unfolded.isdisjoint(islice(row, start, None)):
            return last
        return next((index for index in range(start, last) if row[index] in self.unfolded), last)

    @staticmethod
    def _trunk(above: int, depth: int, *, last: bool) -> int:
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
