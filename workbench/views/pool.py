"""PoolMap: the block pool at one moment, a byte for each block, as maps of it draw it."""

from __future__ import annotations

from functools import cached_property

from engine.ids import request_of
from engine.kv.blocks import NO_NODE, NO_WRITER
from workbench.moment import Moment
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
        blocks = self._moment.state.blocks
        free, cached, owned, shared = BlockState.FREE, BlockState.CACHED, BlockState.OWNED, BlockState.SHARED
        states = bytearray(
            (shared if refs > 1 else owned) if refs else (free if node == NO_NODE else cached)
            for refs, node in zip(blocks.ref_count, blocks.node, strict=True)
        )
        for block in self._moment.changes.blocks:
            states[block] |= CHANGED
        live = self._moment.live_request(self._request)
        for block in live.table if live else ():
            states[block] |= LIT
        return bytes(states)

    def describe(self, index: int) -> str:
        """One line: state, fill, holders, writer."""
        blocks = self._moment.state.blocks
        state = blocks.state(index)
        if state == "free":
            return f"block {index} is free"
        holders = blocks.ref_count[index]
        held = f", held by {holders}" if holders > 1 else ""
        writer = blocks.writer[index]
        by = "" if writer == NO_WRITER else f", written by {request_of(writer)}"
        return f"block {index} is {state}{held}{by}, {blocks.fill[index]} of {blocks.block_size} slots filled"


__all__ = ["PoolMap"]
