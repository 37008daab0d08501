"""The nodes of a radix tree by id: built when they are looked at, shared between copies until one is changed.

A stored tree of a large pool has many thousands of nodes, and whoever seeks through a session touches a few.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from engine.kv.blocks import NO_NODE, Blocks

ROOT = 0


@dataclass(slots=True)
class Node:
    """`blocks` follow each other from logical index `start` on; `children` by the hash of their first block."""

    id: int
    parent: int
    start: int
    created_step: int
    blocks: list[int] = field(default_factory=list)
    children: dict[int, int] = field(default_factory=dict)

    @property
    def stop(self) -> int:
        return self.start + len(self.blocks)

    def copy(self) -> Node:
        return Node(self.id, self.parent, self.start, self.created_step, self.blocks[:], self.children.copy())


@dataclass(frozen=True)
class PackedNodes:
    """Nodes as columns, in ascending order of ids; `blocks` are those of all edges, one after the other."""

    id: Sequence[int]
    parent: Sequence[int]
    start: Sequence[int]
    created_step: Sequence[int]
    length: Sequence[int]
    blocks: array[int]

    def check(self, num_blocks: int) -> None:
        """Raise ValueError where these are not the nodes of a tree over so many blocks."""
        import numpy as np  # a reader that never unpacks a state starts without it

        if (
            len({*map(len, (self.id, self.parent, self.start, self.created_step, self.length))}) != 1
            or not self.id
        ):
            raise ValueError("columns of nodes differ in length")
        ids, parents, starts, lengths = map(np.asarray, (self.id, self.parent, self.start, self.length))
        if (ids[0], parents[0], starts[0], lengths[0]) != (ROOT, NO_NODE, 0, 0) or (np.diff(ids) <= 0).any():
            raise ValueError("ids of nodes do not ascend from the root")
        if (lengths[1:] < 1).any() or lengths.sum() != len(self.blocks):
            raise ValueError("edges do not add up")
        blocks = np.asarray(self.blocks)
        if ((blocks < 0) | (blocks >= num_blocks)).any():
            raise ValueError("an edge lists a block that is not there")
        above = np.searchsorted(ids, parents[1:]).clip(max=len(ids) - 1)
        if (ids[above] != parents[1:]).any() or (starts[above] + lengths[above] != starts[1:]).any():
            raise ValueError("a node does not begin where its parent ends")  # so none is its own ancestor

    def row_of(self, node: int) -> int | None:
        row = bisect_left(self.id, node)
        return row if row < len(self.id) and self.id[row] == node else None

    @cached_property
    def _edges(self) -> array[int]:
        """Where in `blocks` each edge begins."""
        return array("i", accumulate(self.length, initial=0))

    @cached_property
    def _by_parent(self) -> tuple[array[int], array[int]]:
        """The parents in ascending order, and the rows of which they are that."""
        import numpy as np

        parents = np.asarray(self.parent, np.int32)
        rows = parents.argsort(kind="stable").astype(np.int32)
        return array("i", parents[rows].tobytes()), array("i", rows.tobytes())

    def _children(self, node: int) -> array[int]:
        """The rows of the children of a node."""
        parents, rows = self._by_parent
        first = bisect_left(parents, node)
        return rows[first : bisect_right(parents, node, first)]

    @cached_property
    def leaves(self) -> Sequence[tuple[int, int]]:
        """The nodes without children and the last block of each."""
        inner, edges = set(self.parent), self._edges
        rows = range(1, len(self.id))
        return [(self.id[row], self.blocks[edges[row + 1] - 1]) for row in rows if self.id[row] not in inner]

    def node(self, row: int, blocks: Blocks) -> Node:
        """Build a node; `blocks` knows the hashes of its children's first blocks."""
        id_, edges = self.id[row], self._edges
        children = {blocks.hash[self.blocks[edges[child]]]: self.id[child] for child in self._children(id_)}
        own = self.blocks[edges[row] : edges[row + 1]].tolist()
        return Node(id_, self.parent[row], self.start[row], self.created_step[row], own, children)


_NOTHING = PackedNodes((), (), (), (), (), array("i"))


class Nodes(MutableMapping[int, Node]):
    """Nodes in ascending order of ids. A node that is to be changed is asked for with `own`.

    What hangs on a node changes only through that node, so a stored node that nobody has asked for is still
    as it was stored, and so are its children.
    """

    def __init__(self, blocks: Blocks, packed: PackedNodes = _NOTHING) -> None:
        self._blocks = blocks
        self._packed = packed
        self._built: dict[int, Node] = {}
        self._shared: set[int] = set()  # of the built ones, with a copy
        self._gone: set[int] = set()  # of the packed ones
        self._count = len(packed.id)

    def own(self, node: int) -> Node:
        """A node that may be changed."""
        found = self[node]
        if node in self._shared:
            self._shared.discard(node)
            found = self._built[node] = found.copy()
        return found

    def copy(self, blocks: Blocks) -> Nodes:
        """The same nodes over the same blocks in other columns."""
        twin = Nodes(blocks, self._packed)
        self._shared = set(self._built)
        twin._built, twin._shared = self._built.copy(), set(self._built)
        twin._gone, twin._count = self._gone.copy(), self._count
        return twin

    def leaves(self) -> Iterator[tuple[int, int]]:
        """The nodes without children, the root left out, and the last block of each; builds none of them."""
        for node, tail in self._packed.leaves:
            if node not in self._built and node not in self._gone:
                yield node, tail
        for node, built in self._built.items():
            if built.blocks and not built.children:
                yield node, built.blocks[-1]

    def __getitem__(self, node: int) -> Node:
        found = self._built.get(node)
        if found is None:
            row = self._row(node)
            if row is None:
                raise KeyError(node)
            found = self._built[node] = self._packed.node(row, self._blocks)
        return found

    def __setitem__(self, id_: int, node: Node) -> None:
        self._count += id_ not in self
        self._built[id_] = node
        self._shared.discard(id_)

    def __delitem__(self, node: int) -> None:
        if node not in self:
            raise KeyError(node)
        self._count -= 1
        self._shared.discard(node)
        self._built.pop(node, None)
        if self._packed.row_of(node) is not None:
            self._gone.add(node)

    def __contains__(self, node: object) -> bool:
        return node in self._built or (isinstance(node, int) and self._row(node) is not None)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        last = self._packed.id[-1] if self._packed.id else -1
        yield from [node for node in self._packed.id if node not in self._gone]
        yield from [node for node in self._built if node > last]

    def _row(self, node: int) -> int | None:
        return None if node in self._gone else self._packed.row_of(node)
