"""NamedPool: the pool's map with the owner's name beside each block."""

from __future__ import annotations

from workbench.moment import Moment
from workbench.views.holders import holders
from workbench.views.pool import PoolMap
from workbench.widgets.glyphs import Glyphs

LONGEST_NAME = 5


class NamedPool(PoolMap):
    """A `PoolMap` that can say in a few characters who owns a block."""

    def __init__(self, moment: Moment, request: str | None, glyphs: Glyphs) -> None:
        super().__init__(moment, request)
        self._times = glyphs.times
        names = (len(each) for each in moment.state.running)
        self.tag_width = min(LONGEST_NAME, max(names, default=1) + 1)

    def tag(self, index: int) -> str:
        """The request that owns a block, or by how many it is shared."""
        state = self._moment.state
        count = state.blocks.ref_count[index]
        if count > 1:
            return f"{self._times}{count}"
        return next(iter(holders(state, index)), "") if count else ""

    def describe(self, index: int) -> str:
        """State, holders and fill, in few words."""
        blocks = self._moment.state.blocks
        names = holders(self._moment.state, index)
        held = f" by {' '.join(names)}" if names else ""
        what = "shared" if len(names) > 1 else blocks.state(index)
        fill = "" if what == "free" else f", {blocks.fill[index]} of {blocks.block_size} slots filled"
        return f"block {index}: {what}{held}{fill}"


__all__ = ["NamedPool"]
