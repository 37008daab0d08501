"""The radix tree over blocks: which prefixes are cached, and in which block each part lies.

An edge carries whole blocks; a node lists the blocks of the edge that leads to it, and finds its children
by the chained hash of their first block. Only its shape lives here: ref counts and use are in `Blocks`.

    root ── [b0 b1 b2] ─┬─ [b3]
                        └─ [b7 b8]
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import xxhash

from engine.kv.blocks import NO_NODE, Blocks
from engine.kv.ghosts import Ghost, Ghosts
from engine.kv.nodes import ROOT, Node, Nodes

__all__ = ["ROOT", "Ghost", "Node", "RadixTree", "Walk", "chain_hash", "chain_hashes"]

HASH_BITS = 53  # exact in every JSON reader; a hit is verified against the tokens anyway


def chain_hash(previous: int, tokens: Sequence[int]) -> int:
    """Hash of a full block that holds `tokens` after the block hashed `previous` (at position 0: the seed)."""
    data = previous.to_bytes(8, "little") + array("i", tokens).tobytes()
    return (xxhash.xxh3_64_intdigest(data) & ((1 << HASH_BITS) - 1)) or 1


def chain_hashes(tokens: Sequence[int], block_size: int, seed: int = 0) -> list[int]:
    """The hash of every full block of `tokens`; `seed` is that of `engine.kv.seeds`."""
    hashes: list[int] = []
    previous = seed
    for start in range(0, len(tokens) - block_size + 1, block_size):
        previous = chain_hash(previous, tokens[start : start + block_size])
        hashes.append(previous)
    return hashes


@dataclass(frozen=True, slots=True)
class Walk:
    """How far a chain of hashes leads: `blocks` matched, ending `offset` blocks into `node`."""

    blocks: list[int]
    node: int
    offset: int


class RadixTree:
    """Nodes by id, and the hashes of the latest evicted blocks."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self.nodes = Nodes(blocks)
        self.nodes[ROOT] = Node(ROOT, NO_NODE, 0, 0)
        self.next_id = ROOT + 1
        self.ghosts = Ghosts()

    def copy(self, blocks: Blocks) -> RadixTree:
        """The same tree over `blocks`, a copy of its own."""
        twin = RadixTree(blocks)
        twin.nodes, twin.ghosts, twin.next_id = self.nodes.copy(blocks), self.ghosts.copy(), self.next_id
        return twin

    @property
    def root(self) -> Node:
        return self.nodes[ROOT]

    def walk(self, hashes: Sequence[int]) -> Walk:
        """Follow `hashes` from the root as far as cached blocks go."""
        matched: list[int] = []
        node, offset = self.root, 0
        while len(matched) < len(hashes) and (child := node.children.get(hashes[len(matched)])) is not None:
            node, offset = self.nodes[child], 0
            for block in node.blocks:
                if len(matched) == len(hashes) or self._blocks.hash[block] != hashes[len(matched)]:
                    return Walk(matched, node.id, offset)
                matched.append(block)
                offset += 1
        return Walk(matched, node.id, offset)

    def place_of(self, block: int) -> tuple[Node, int]:
        """The node that lists `block`, and how many of its blocks end with it."""
        node = self.nodes[self._blocks.node[block]]
        return node, self._blocks.index[block] - node.start + 1

    def append(self, node: int, parent: int, created: bool, blocks: Sequence[int], step: int) -> None:
        """Add full `blocks`, whose hashes are set, at the end of `node`, or as a new child of `parent`."""
        if created:
            above = self.nodes.own(parent)
            assert node == self.next_id, "node ids are given out in order"
            self.nodes[node] = Node(node, parent, above.stop, step)
            above.children[self._blocks.hash[blocks[0]]] = node
            self.next_id += 1
        leaf = self.nodes.own(node)
        assert not leaf.children
        leaf.blocks.extend(blocks)
        for block in blocks:
            self._blocks.node[block] = node

    def split(self, node: int, child: int, at: int, step: int) -> None:
        """`node` keeps its first `at` blocks; the rest and its children move to the new node `child`."""
        upper = self.nodes.own(node)
        assert 0 < at < len(upper.blocks)
        assert child == self.next_id
        lower = Node(child, node, upper.start + at, step, upper.blocks[at:], upper.children)
        self.nodes[child] = lower
        self.next_id += 1
        upper.blocks = upper.blocks[:at]
        upper.children = {self._blocks.hash[lower.blocks[0]]: child}
        for block in lower.blocks:
            self._blocks.node[block] = child
        for below in lower.children.values():
            self.nodes.own(below).parent = child

    def trim(self, node: int, blocks: Sequence[int], ghost: Ghost) -> None:
        """Evict `blocks`, the tail of leaf `node`, last one first; an empty node disappears."""
        for block in blocks:
            self.ghosts.remember(self._blocks.hash[block], ghost, self._blocks.num_blocks)
            self._cut_tail(node, block)
            self._blocks.evict(block)

    def detach(self, node: int, blocks: Sequence[int]) -> None:
        """Held `blocks`, the tail of leaf `node`, leave the tree, last one first; who holds them keeps them."""
        for block in blocks:
            assert self._blocks.ref_count[block], f"block {block} is not held"
            self._cut_tail(node, block)
            self._blocks.node[block] = NO_NODE

    def _cut_tail(self, node: int, block: int) -> None:
        leaf = self.nodes.own(node)
        assert not leaf.children, f"node {node} is not a leaf"
        assert leaf.blocks[-1] == block, f"block {block} is not the tail of node {node}"
        if len(leaf.blocks) == 1:
            del self.nodes.own(leaf.parent).children[self._blocks.hash[block]]
            del self.nodes[node]
        leaf.blocks.pop()

    def evictable_tail(self, node: Node) -> int | None:
        """The block of `node` that could be evicted next, None when it is no leaf or is held."""
        if node.id == ROOT or node.children or self._blocks.ref_count[node.blocks[-1]]:
            return None
        return node.blocks[-1]

    def path(self, node: int) -> Iterator[Node]:
        """`node` and its ancestors up to, and without, the root."""
        while node != ROOT:
            yield self.nodes[node]
            node = self.nodes[node].parent

    def check_invariants(self) -> None:
        """Links agree both ways, edges follow each other, and blocks point back to their node."""
        listed = 0
        for node in self.nodes.values():
            assert (node.id == ROOT) == (not node.blocks), f"node {node.id} is empty"
            for child in node.children.values():
                assert self.nodes[child].parent == node.id
                assert self.nodes[child].start == node.stop
            for offset, block in enumerate(node.blocks):
                assert self._blocks.node[block] == node.id
                assert self._blocks.index[block] == node.start + offset
                assert self._blocks.fill[block] == self._blocks.block_size
            if node.id != ROOT:
                first = self._blocks.hash[node.blocks[0]]
                assert self.nodes[node.parent].children[first] == node.id
            listed += len(node.blocks)
        assert listed == sum(node != NO_NODE for node in self._blocks.node)
        assert len(self.ghosts) <= self._blocks.num_blocks
