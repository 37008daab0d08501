"""Which cached block goes next: an order over the leaves of the radix tree.

The order is derived from the state and can be rebuilt from it at any time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias, TypeVar

from engine.kv.blocks import Blocks
from engine.kv.radix import ROOT, Node, RadixTree

Key: TypeAlias = tuple[int, ...]
Entry: TypeAlias = tuple[Key, int]  # key, node id
T = TypeVar("T")


class EvictionPolicy(Protocol):
    """Orders evictable leaves: the smallest key goes first. Keys may depend on `Blocks` columns only."""

    name: str

    def key(self, last_use_step: int, node: int, block: int, blocks: Blocks) -> Key:
        """The key of `block`, the tail of leaf `node`, last used at `last_use_step`."""
        ...


class LRU:
    """Least recently used first; of equals, the oldest node."""

    name = "lru"

    def key(self, last_use_step: int, node: int, block: int, blocks: Blocks) -> Key:  # noqa: ARG002
        return (last_use_step, node)


POLICIES: dict[str, EvictionPolicy] = {"lru": LRU()}


def in_order(heap: Sequence[T]) -> Iterator[T]:
    """The elements of a binary heap in ascending order, without changing it: O(log k) for the k-th."""
    frontier: list[tuple[T, int]] = [(heap[0], 0)] if heap else []
    while frontier:
        item, at = heapq.heappop(frontier)
        yield item
        for child in (2 * at + 1, 2 * at + 2):
            if child < len(heap):
                heapq.heappush(frontier, (heap[child], child))


class EvictionOrder:
    """A lazy heap of leaves: entries that no longer hold are skipped, and dropped when they reach the top.

    It is made from the tree when somebody first asks: whoever only folds never does.
    """

    def __init__(self, tree: RadixTree, blocks: Blocks, policy: EvictionPolicy) -> None:
        self._tree = tree
        self._blocks = blocks
        self.policy = policy
        self._heap: list[Entry] | None = None  # made when somebody asks

    def note(self, node_id: int) -> None:
        """The node may have become evictable."""
        if self._heap is not None:
            self._push(self._heap, node_id)

    def _push(self, heap: list[Entry], node_id: int) -> None:
        node = self._tree.nodes.get(node_id)
        if node is None or (tail := self._tree.evictable_tail(node)) is None:
            return
        heapq.heappush(heap, (self._key(node, tail), node_id))
        if len(heap) > 64 + 4 * len(self._tree.nodes):
            heap[:] = sorted({entry for entry in heap if self._holds(entry)})

    def __iter__(self) -> Iterator[Entry]:
        """Evictable leaves as (key, node id), next one first."""
        if self._heap is None:
            self._heap = self._all()
        while self._heap and not self._holds(self._heap[0]):
            heapq.heappop(self._heap)
        previous: Entry | None = None
        for entry in in_order(self._heap):
            if entry != previous and self._holds(entry):
                yield entry
            previous = entry

    def _all(self) -> list[Entry]:
        """All evictable leaves, ascending, which is a heap as well."""
        refs, used, key = self._blocks.ref_count, self._blocks.last_use, self.policy.key
        free = ((node, tail) for node, tail in self._tree.nodes.leaves() if not refs[tail])
        return sorted((key(used[tail], node, tail, self._blocks), node) for node, tail in free)

    def _key(self, node: Node, tail: int) -> Key:
        return self.policy.key(self._blocks.last_use[tail], node.id, tail, self._blocks)

    def _holds(self, entry: Entry) -> bool:
        key, node_id = entry
        node = self._tree.nodes.get(node_id)
        if node is None or node_id == ROOT:
            return False
        tail = self._tree.evictable_tail(node)
        return tail is not None and self._key(node, tail) == key
