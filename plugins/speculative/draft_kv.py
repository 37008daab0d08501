"""The drafting model's keys and values: in a pool of its own, at the slots and block tables of the target's.

    table of a request   [ b3 ][ b7 ][ b1 . . ]          positions of tokens whose KV the target has
    drafting reads       [ b3 ][ b7 ][ s0 . . ][ s1 ]    the newest token and the drafts lie in scratch blocks

What a slot holds is known by a hash of the tokens up to it, so it does not matter how a request came by its
blocks: shared, matched, copied, after somebody else or after going back. What does not match is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.drafts import DraftRequest
from engine.kv.pool import KVPool
from engine.model.config import ModelConfig
from plugins.speculative.going import Lane

Hashes = npt.NDArray[np.uint64]

_BASE, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


class DraftKV:
    """The pool of a drafting model with `lanes` times `most` drafts of room beyond the target's `num_blocks`."""

    def __init__(self, config: ModelConfig, target: KVPool, lanes: int, most: int) -> None:
        size = self.block_size = target.block_size
        self._num_blocks = target.num_blocks
        self._per_lane = 1 + -(-most // size)
        self.pool = KVPool(config, target.num_blocks + lanes * self._per_lane, size, target.dtype)
        self._held = np.zeros(target.num_slots, np.uint64)
        self._powers = _powers(config.context_tokens)

    def enter(self, lane: int, asked: DraftRequest) -> Lane:
        """Make ready to draft for a request."""
        computed = len(asked.tokens) - 1
        held = self._held[self._slots(asked, computed)] == self._hashes(asked.tokens)[:computed]
        known = computed if held.all() else int(held.argmin())
        full, used = divmod(computed, self.block_size)
        first = self._num_blocks + lane * self._per_lane
        if used:
            self.pool.copy_block(asked.table[full], first, used)
        table = (*asked.table[:full], *range(first, first + self._per_lane))
        return Lane(asked, table, computed, known)

    def settle(self, lane: Lane) -> None:
        """The missing positions are computed: put those that are not in scratch blocks on record."""
        full, used = divmod(lane.computed, self.block_size)
        if used and lane.known < lane.computed:
            self.pool.copy_block(lane.table[full], lane.asked.table[full], used)
        slots = self._slots(lane.asked, lane.computed)
        self._held[slots] = self._hashes(lane.asked.tokens)[: lane.computed]

    def _slots(self, asked: DraftRequest, count: int) -> npt.NDArray[np.int64]:
        blocks = np.array(asked.table[: -(-count // self.block_size)], np.int64)
        return (blocks[:, None] * self.block_size + np.arange(self.block_size)).reshape(-1)[:count]

    def _hashes(self, tokens: Sequence[int]) -> Hashes:
        """Of the tokens up to each, itself included: sums of mixed tokens times powers, modulo 2**64."""
        mixed = (np.asarray(tokens, np.uint64) + np.uint64(1)) * _MIX
        mixed ^= mixed >> np.uint64(29)
        hashes: Hashes = (mixed * self._powers[: len(mixed)]).cumsum(dtype=np.uint64)
        return hashes


def _powers(count: int) -> Hashes:
    powers = np.full(count, _BASE)
    powers[:1] = 1
    found: Hashes = powers.cumprod(dtype=np.uint64)
    return found
