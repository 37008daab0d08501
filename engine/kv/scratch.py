"""Slots beyond the pool's own, for keys and values that no block table holds: those of guesses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.kv.pool import KVPool


class ScratchPool(KVPool):
    """`base` with `extra_blocks` more after its last block, in a pool of its kind.

    Nobody may count on what those hold after the pass, or the passes, of one draft.
    """

    def __init__(self, base: KVPool, extra_blocks: int) -> None:
        extra = base.another(extra_blocks)
        self.config, self.block_size, self.dtype = base.config, base.block_size, base.dtype
        self.num_blocks = base.num_blocks + extra_blocks
        self.layers = []
        self.first_block, self.first_slot = base.num_blocks, base.num_slots
        """The numbers of the first extra block, and of its first slot."""
        self._base, self._extra = base, extra

    @property
    def held(self) -> Sequence[Tensor]:
        """What the extra blocks take."""
        return self._extra.held

    def write(self, layer: int, slots: Tensor, kv: Tensor) -> None:
        extra = slots >= self.first_slot
        if bool(extra.any()):
            self._extra.write(layer, slots[extra] - self.first_slot, kv[extra])
            slots, kv = slots[~extra], kv[~extra]
        if len(slots):
            self._base.write(layer, slots, kv)

    def gather(self, layer: int, slots: Tensor) -> Tensor:
        extra = (slots >= self.first_slot).nonzero()[:, 0]
        if not len(extra):
            return self._base.gather(layer, slots)
        found = self._base.gather(layer, slots.clamp(max=self.first_slot - 1))
        found[extra] = self._extra.gather(layer, slots[extra] - self.first_slot)
        return found

    def read(self, layer: int, run: slice) -> Tensor:
        if run.stop <= self.first_slot:
            return self._base.read(layer, run)
        return self.gather(layer, torch.arange(run.start, run.stop))

    def begin_block(self, source: int, extra: int, tokens: int) -> None:
        """Copy the first `tokens` slots of a block of the base to an extra block."""
        read = torch.arange(tokens)
        write = read + (extra - self.first_block) * self.block_size
        self._extra.copy_slots(self._base, read + source * self.block_size, write)

    def keep(self, extra: Sequence[int], slots: Sequence[int]) -> None:
        """Put what lies in `extra` slots into `slots` of the base, as it is."""
        read = torch.tensor(extra) - self.first_slot
        self._base.copy_slots(self._extra, read, torch.tensor(slots))
