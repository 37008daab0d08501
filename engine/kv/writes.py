"""When each KV slot was written last: what tells KV that still holds from KV that was overwritten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class WriteClock:
    """A clock that ticks once a forward pass, and the tick of the latest write to each slot.

    What a slot held at tick `t` is still there if nothing was written to it since.
    """

    def __init__(self, num_slots: int) -> None:
        self.now = 0
        self._last = np.zeros(num_slots, np.int64)

    def tick(self) -> None:
        """A forward pass begins."""
        self.now += 1

    def wrote(self, slots: Sequence[int] | slice | npt.NDArray[np.int64]) -> None:
        """The pass under way writes `slots`."""
        self._last[slots] = self.now

    def intact(self, slots: npt.NDArray[np.int64], since: int) -> npt.NDArray[np.bool_]:
        """Which of `slots` hold what they held at tick `since`."""
        unchanged: npt.NDArray[np.bool_] = self._last[slots] <= since
        return unchanged
