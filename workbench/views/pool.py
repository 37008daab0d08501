"""PoolMap: the block pool at one moment, a byte for each block, as maps of it draw it."""

from __future__ import annotations

import sys
from array import array
from functools import cached_property

from engine.kv.blocks import NO_NODE, Blocks
from workbench.moment import Moment
from workbench.views.holders import holders
from workbench.widgets.blockmap import CHANGED, LIT, BlockState


class PoolMap:
    """What every block is, which ones the step changed, and which ones a request's table holds."""

    def __init__(self, moment: Moment, request: str | None) -> None:
        self._moment = moment
        self._request = request

    def __len__(self) -> int:
        return self._moment.state.blocks.num_blocks

    def states(self, start: int, stop: int) -> bytes:
        return self._bytes[start:stop]

    @cached_property
    def _bytes(self) -> bytes:
        states = block_states(self._moment.state.blocks, most_refs=len(self._moment.state.running))
        for block in self._moment.changes.blocks:
            states[block] |= CHANGED
        live = self._moment.live_request(self._request)
        for block in live.held_blocks if live else ():
            states[block] |= LIT
        return bytes(states)

    def describe(self, index: int) -> str:
        """State, holders and fill, in few words."""
        blocks = self._moment.state.blocks
        names = holders(self._moment.state, index)
        held = f" by {' '.join(names)}" if names else ""
        what = "shared" if len(names) > 1 else blocks.state(index)
        fill = "" if what == "free" else f", {blocks.fill[index]} of {blocks.block_size} slots filled"
        return f"block {index}: {what}{held}{fill}"


_IN_TREE = 0x40
_HOLDERS = bytes([BlockState.FREE, BlockState.OWNED, *[BlockState.SHARED] * 254])
_PLACES = bytes([*[_IN_TREE] * 255, 0])  # the high byte of a node's number; of NO_NODE it is 255
_STATES = bytes(
    BlockState.CACHED if byte == _IN_TREE else byte & ~_IN_TREE & 0xFF for byte in range(256)
)  # held blocks look the same in the tree and out of it


def block_states(blocks: Blocks, most_refs: int) -> bytearray:
    """A `BlockState` byte for every block; no ref count is above `most_refs`.

    Columns are taken a byte at a time, so that a hundred thousand blocks cost what a few hundred do.
    """
    if most_refs > 255 or blocks.ref_count.itemsize != blocks.node.itemsize:
        return bytearray(map(_state, blocks.ref_count, blocks.node))
    refs = _byte_of(blocks.ref_count, 0).translate(_HOLDERS)
    nodes = _byte_of(blocks.node, blocks.node.itemsize - 1).translate(_PLACES)
    both = int.from_bytes(refs, "little") | int.from_bytes(nodes, "little")
    return bytearray(both.to_bytes(len(refs), "little").translate(_STATES))


def _byte_of(column: array[int], significance: int) -> bytes:
    """One byte of every entry, the lowest being 0."""
    size = column.itemsize
    first = significance if sys.byteorder == "little" else size - 1 - significance
    return memoryview(column).cast("B")[first::size].tobytes()


def _state(refs: int, node: int) -> BlockState:
    if refs:
        return BlockState.SHARED if refs > 1 else BlockState.OWNED
    return BlockState.FREE if node == NO_NODE else BlockState.CACHED


__all__ = ["PoolMap", "block_states"]
