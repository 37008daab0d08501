"""The physical KV blocks as columns: who holds each, how full it is, and what it caches.

free    ref_count 0, not in the tree: its content is meaningless
cached  ref_count 0, in the tree: kept for a later prefix hit, evictable
owned   ref_count >= 1 block tables hold it, in the tree or not
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Final, Literal, NamedTuple

BlockState = Literal["free", "cached", "owned"]

NO_NODE = -1
NO_WRITER = -1
COLUMNS: Final[Mapping[str, str]] = {
    "ref_count": "i", "fill": "i", "node": "i", "index": "i",
    "writer": "q", "hash": "q", "last_use": "i", "hits": "i",
}  # fmt: skip
"""The columns with an entry for each block, and the codes of their arrays."""


class HostBlock(NamedTuple):
    """Whose tokens a block in a host file holds (a request code), and at which table index (`at`)."""

    writer: int
    at: int


class Blocks:
    """Bookkeeping of `num_blocks` blocks of `block_size` token slots each."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.ref_count = array("i", bytes(4 * num_blocks))
        self.fill = array("i", bytes(4 * num_blocks))  # slots whose KV is valid
        self.node = array("i", [NO_NODE]) * num_blocks  # the tree node that lists the block
        self.index = array("i", bytes(4 * num_blocks))  # logical index: position // block_size
        self.writer = array("q", [NO_WRITER]) * num_blocks  # request code of who computed it
        self.hash = array("q", bytes(8 * num_blocks))  # chained over all tokens from position 0; 0 until full
        self.last_use = array("i", bytes(4 * num_blocks))  # step in which a table last took it or gave it up
        self.hits = array("i", bytes(4 * num_blocks))  # prefix hits since it was allocated
        self.free = deque(range(num_blocks))  # taken from the left, returned on the right
        self.taken = 0  # from the free queue, since the start
        self.cached = 0
        self.owned = 0

    def copy(self) -> Blocks:
        """An independent copy."""
        twin = copy(self)
        for name in COLUMNS:
            setattr(twin, name, getattr(self, name)[:])
        twin.free = self.free.copy()
        return twin

    def state(self, block: int) -> BlockState:
        if self.ref_count[block]:
            return "owned"
        return "free" if self.node[block] == NO_NODE else "cached"

    def take(self, blocks: Sequence[int], index: int, writer: int, step: int) -> None:
        """Give the next free blocks, which must be `blocks`, to `writer` from table index `index` on."""
        for offset, block in enumerate(blocks):
            taken = self.free.popleft()
            assert taken == block, f"block {block} is not the next free one ({taken} is)"
            assert self.ref_count[block] == 0
            assert self.node[block] == NO_NODE
            self.ref_count[block] = 1
            self.index[block] = index + offset
            self.writer[block] = writer
            self.last_use[block] = step
            self.hits[block] = 0
        self.taken += len(blocks)
        self.owned += len(blocks)

    def hold(self, blocks: Sequence[int], step: int) -> None:
        """One more block table holds each of `blocks`."""
        for block in blocks:
            self.last_use[block] = step
            if self.ref_count[block] == 0:
                assert self.node[block] != NO_NODE, f"block {block} is free"
                self.cached -= 1
                self.owned += 1
            self.ref_count[block] += 1

    def release(self, blocks: Sequence[int], step: int) -> None:
        """One block table less holds each of `blocks`; the last holder frees what the tree does not keep.

        Goes from the tail, so that the head of a sequence is reused last.
        """
        for block in reversed(blocks):
            assert self.ref_count[block] > 0, f"block {block} is not held"
            self.ref_count[block] -= 1
            self.last_use[block] = step
            if self.ref_count[block] == 0:
                self.owned -= 1
                if self.node[block] == NO_NODE:
                    self._return(block)
                else:
                    self.cached += 1

    def evict(self, block: int) -> None:
        """A cached block leaves the tree and is free."""
        assert self.state(block) == "cached"
        self.cached -= 1
        self.node[block] = NO_NODE
        self._return(block)

    def _return(self, block: int) -> None:
        self.fill[block] = 0
        self.hash[block] = 0
        self.writer[block] = NO_WRITER
        self.free.append(block)

    def check_invariants(self) -> None:
        """Every block is in exactly one state and the counts say so."""
        states = [self.state(block) for block in range(self.num_blocks)]
        assert sorted(self.free) == [block for block, state in enumerate(states) if state == "free"]
        assert self.cached == states.count("cached")
        assert self.owned == states.count("owned")
        assert all(0 <= fill <= self.block_size for fill in self.fill)
        assert all(self.fill[block] == 0 for block in self.free)
