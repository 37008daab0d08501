"""Slots beyond the pool's own, for keys and values that no block table holds: those of guesses."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.kv.pool import KVPool


class ScratchPool(KVPool):
    """`base` with `extra_blocks` more after its last block, which are kept apart.

    What is written to and read from the base's blocks is the base's; the others are this pool's own, in the
    compute type. Nobody may count on what they hold after the pass, or the passes, of one draft.
    """

    def __init__(self, base: KVPool, extra_blocks: int) -> None:
        super().__init__(base.config, max(1, extra_blocks), base.block_size, base.dtype)
        self._base = base
        self.first_block = base.num_blocks
        """The number of the first extra block."""
        self._first_slot = base.num_slots

    def write(self, layer: int, slots: Tensor, kv: Tensor) -> None:
        extra = slots >= self._first_slot
        if not bool(extra.any()):
            self._base.write(layer, slots, kv)
            return
        super().write(layer, slots[extra] - self._first_slot, kv[extra])
        if not bool(extra.all()):
            self._base.write(layer, slots[~extra], kv[~extra])

    def gather(self, layer: int, slots: Tensor) -> Tensor:
        extra = (slots >= self._first_slot).nonzero()[:, 0]
        if not len(extra):
            return self._base.gather(layer, slots)
        found = self._base.gather(layer, slots.clamp(max=self._first_slot - 1))
        found[extra] = super().gather(layer, slots[extra] - self._first_slot)
        return found

    def read(self, layer: int, run: slice) -> Tensor:
        if run.stop <= self._first_slot:
            return self._base.read(layer, run)
        return self.gather(layer, torch.arange(run.start, run.stop))

    def begin_block(self, source: int, extra: int, tokens: int, layers: tuple[int, ...]) -> None:
        """Copy the first `tokens` slots of a block of the base to an extra block, in some layers."""
        size = self.block_size
        read = torch.arange(source * size, source * size + tokens)
        for layer in layers:
            self.write(layer, read + (extra - source) * size, self._base.gather(layer, read))
