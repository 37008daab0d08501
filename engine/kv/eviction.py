"""Which cached block goes next: an order over the leaves of the radix tree.

The order is derived from the state and can be rebuilt from it at any time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar, runtime_checkable

from engine.kv.blocks import Blocks
from engine.kv.radix import ROOT, Node, RadixTree
from engine.plug_guard import ContractError, PluginFailedError

Key: TypeAlias = tuple[int, ...]
Entry: TypeAlias = tuple[Key, int]  # key, node id
T = TypeVar("T")


@runtime_checkable
class EvictionPolicy(Protocol):
    """An order over evictable leaves, chosen with `--eviction NAME`: the smallest key goes first.

    A policy is a function of what it is given: the order is rebuilt from the state at any time. When a hook
    raises, takes longer than 2 s or breaks its contract, the plugin is disabled, the plan under way is made
    anew, and the least recently used block goes first from then on.
    """

    name: str

    def eviction_key(self, last_use_step: int, node: int, block: int, blocks: Blocks) -> Key:
        """Called when `block`, the tail of leaf `node`, can be evicted, and again when that may have changed.

        `last_use_step` counts, also within a plan, where the column `blocks.last_use` is still that of the
        step before. Of `blocks` only columns may be read (`hits`, `fill`, `index`, `writer`), at [block].
        Returns a tuple of ints, of one length for all blocks; of equal keys, the older node goes first.
        """
        ...


class LRU:
    """Least recently used first; of equals, the oldest node."""

    name = "lru"
    meaning = "least recently used first"

    def eviction_key(self, last_use_step: int, node: int, block: int, blocks: Blocks) -> Key:  # noqa: ARG002
        return (last_use_step, node)


class NotHere:
    """Stands for a policy that this process does not know: states are folded without it, and not planned from."""

    def __init__(self, name: str) -> None:
        self.name = name

    def eviction_key(self, last_use_step: int, node: int, block: int, blocks: Blocks) -> Key:  # noqa: ARG002
        raise ContractError(f"eviction policy {self.name} is not loaded here")


DEFAULT: Final = "lru"
POLICIES: Final[dict[str, EvictionPolicy]] = {"lru": LRU()}
"""The policies that this process knows, by name."""


def policy_named(name: str) -> EvictionPolicy:
    """The policy of that name, or what stands for it where it is not loaded."""
    return POLICIES.get(name) or NotHere(name)


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
        if self._heap is None:
            return
        try:
            self._push(self._heap, node_id)
        except PluginFailedError:  # whoever plans asks again, and is told
            self._heap = None

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
        refs, used, key = self._blocks.ref_count, self._blocks.last_use, self.policy.eviction_key
        free = ((node, tail) for node, tail in self._tree.nodes.leaves() if not refs[tail])
        return sorted((key(used[tail], node, tail, self._blocks), node) for node, tail in free)

    def _key(self, node: Node, tail: int) -> Key:
        return self.policy.eviction_key(self._blocks.last_use[tail], node.id, tail, self._blocks)

    def _holds(self, entry: Entry) -> bool:
        key, node_id = entry
        node = self._tree.nodes.get(node_id)
        if node is None or node_id == ROOT:
            return False
        tail = self._tree.evictable_tail(node)
        return tail is not None and self._key(node, tail) == key
