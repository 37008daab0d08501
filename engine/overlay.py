"""A plan's view of the blocks: the state, and on top of it what the plan has decided so far.

Its cost is what the plan touches. Every method mirrors what `State.apply` will do with the event that the
plan emits, so that a plan can go on deciding without changing the state.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from engine.kv.blocks import NO_NODE
from engine.kv.eviction import Entry
from engine.kv.holes import held
from engine.kv.radix import ROOT
from engine.state import State


@dataclass(frozen=True, slots=True)
class Victim:
    """A cached block that can be evicted: the tail of `node`."""

    node: int
    block: int


@dataclass(frozen=True, slots=True)
class Room:
    """Enough blocks: `blocks` in the order they are taken, after evicting `victims`."""

    blocks: tuple[int, ...]
    victims: tuple[Victim, ...]


@dataclass(frozen=True, slots=True)
class Short:
    """Not enough: only `free` and `evictable` blocks there are."""

    free: int
    evictable: int


class Overlay:
    """Free blocks, ref counts and leaves as they will be once the plan's events are applied."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._taken = 0  # from the left of the free queue
        self._returned: list[int] = []  # to the right of it
        self._refs: dict[int, int] = {}  # block -> change of its ref count
        self._kept: dict[int, int] = {}  # node -> how many of its blocks are left
        self._lost_children: dict[int, int] = {}
        self.evicted: dict[int, str] = {}  # block -> the request that it made room for
        self._used_now: set[int] = set()  # blocks whose last use is this step
        self._leaves: list[Entry] = []  # nodes that became evictable by this plan

    @property
    def free(self) -> int:
        return len(self._state.blocks.free) + len(self._returned) - self._taken

    def ref_count(self, block: int) -> int:
        return self._state.blocks.ref_count[block] + self._refs.get(block, 0)

    def last_use(self, block: int) -> int:
        return self._state.step + 1 if block in self._used_now else self._state.blocks.last_use[block]

    def find(self, need: int, protected: Sequence[int] = ()) -> Room | Short:
        """Room for `need` blocks without evicting `protected`, or how far it falls short. Decides nothing."""
        missing = need - self.free
        victims = tuple(islice(self._victims(frozenset(protected)), missing)) if missing > 0 else ()
        if len(victims) < missing:
            return Short(self.free, len(victims))
        queue = (*self._free_queue(need), *(victim.block for victim in victims))
        return Room(queue[:need], victims)

    def take(self, room: Room, request: str) -> None:
        """The plan evicts `room.victims` and allocates `room.blocks`, both for `request`."""
        for victim in room.victims:
            self._trim(victim.node)
            self.evicted[victim.block] = request
            self._returned.append(victim.block)
        self._taken += len(room.blocks)
        for block in room.blocks:
            self._refs[block] = self._refs.get(block, 0) + 1

    def hold(self, blocks: Sequence[int]) -> None:
        """A table begins with `blocks`."""
        for block in held(blocks):
            self._refs[block] = self._refs.get(block, 0) + 1

    def release(self, blocks: Sequence[int]) -> None:
        """A table gives up `blocks`: they become cached or free."""
        columns, blocks = self._state.blocks, held(blocks)
        for block in reversed(blocks):
            self._refs[block] = self._refs.get(block, 0) - 1
            self._used_now.add(block)
            if self.ref_count(block) == 0 and columns.node[block] == NO_NODE:
                self._returned.append(block)
        for node in {columns.node[block] for block in blocks} - {NO_NODE}:
            self._note(node)

    def _free_queue(self, most: int) -> tuple[int, ...]:
        old = len(self._state.blocks.free)
        first = islice(self._state.blocks.free, self._taken, self._taken + most)
        return (*first, *islice(self._returned, max(0, self._taken - old), max(0, self._taken + most - old)))

    # -- leaves --------------------------------------------------------------------------------------

    def _victims(self, protected: frozenset[int]) -> Iterator[Victim]:
        """Evictable blocks in the policy's order, as if each were evicted before the next is looked for."""
        kept: dict[int, int] = {}  # what this search would leave of a node
        lost: dict[int, int] = {}
        uncovered: list[Entry] = []
        stored = heapq.merge(self._state.evictable, sorted(self._leaves))
        for entry in stored:
            heapq.heappush(uncovered, entry)
            while uncovered and uncovered[0] <= entry:
                key, node = heapq.heappop(uncovered)
                if self._key(node, kept, lost, protected) != key:
                    continue
                yield self._strip(node, kept, lost)
                self._push_uncovered(node, kept, lost, protected, uncovered)
        while uncovered:
            key, node = heapq.heappop(uncovered)
            if self._key(node, kept, lost, protected) == key:
                yield self._strip(node, kept, lost)
                self._push_uncovered(node, kept, lost, protected, uncovered)

    def _strip(self, node: int, kept: dict[int, int], lost: dict[int, int]) -> Victim:
        left = self._left(node, kept)
        block = self._state.tree.nodes[node].blocks[left - 1]
        kept[node] = left - 1
        if left == 1:
            parent = self._state.tree.nodes[node].parent
            lost[parent] = lost.get(parent, 0) + 1
        return Victim(node, block)

    def _push_uncovered(
        self, node: int, kept: dict[int, int], lost: dict[int, int], protected: frozenset[int], heap: list[Entry]
    ) -> None:
        exposed = node if self._left(node, kept) else self._state.tree.nodes[node].parent
        key = self._key(exposed, kept, lost, protected)
        if key is not None:
            heapq.heappush(heap, (key, exposed))

    def _left(self, node: int, kept: dict[int, int]) -> int:
        if node in kept:
            return kept[node]
        return self._kept.get(node, len(self._state.tree.nodes[node].blocks))

    def _key(
        self, node_id: int, kept: dict[int, int], lost: dict[int, int], protected: frozenset[int]
    ) -> tuple[int, ...] | None:
        """The node's place in the eviction order now, None when it is no evictable leaf."""
        node = self._state.tree.nodes[node_id]
        left = self._left(node_id, kept)
        children = len(node.children) - self._lost_children.get(node_id, 0) - lost.get(node_id, 0)
        if node_id == ROOT or left == 0 or children > 0:
            return None
        tail = node.blocks[left - 1]
        if self.ref_count(tail) or tail in protected:
            return None
        return self._state.evictable.policy.eviction_key(self.last_use(tail), node_id, tail, self._state.blocks)

    def _trim(self, node: int) -> None:
        left = self._left(node, {}) - 1
        self._kept[node] = left
        parent = self._state.tree.nodes[node].parent
        if left == 0:
            self._lost_children[parent] = self._lost_children.get(parent, 0) + 1
        self._note(node if left else parent)

    def _note(self, node: int) -> None:
        key = self._key(node, {}, {}, frozenset())
        if key is not None:
            heapq.heappush(self._leaves, (key, node))
