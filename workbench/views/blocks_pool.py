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


__all__ = ["NamedPool"]
