"""What dropped blocks did to the logits: each row as it was, beside the same row over the whole cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.kv.holes import NO_DROPS, Drops
from engine.kv.pool import KVPool
from engine.model.batch import Span
from engine.planning.sizes import blocks_for
from engine.row_again import Prepared, RowAgain

CHUNK_ROWS = 128  # of which there are logits at a time


@dataclass(frozen=True, slots=True, eq=False)
class RowPair:
    """The row that chose the token at `position`: logits [vocab] with what was dropped, and with the whole cache.

    `without` is how many tokens it did not read.
    """

    position: int
    without: int
    thinned: Tensor
    whole: Tensor

    @property
    def kl(self) -> float:
        """KL(whole ‖ thinned) of the two distributions, in nats."""
        whole, thinned = (row.double().log_softmax(-1) for row in (self.whole, self.thinned))
        return max(0.0, float((whole.exp() * (whole - thinned)).sum()))


def row_pairs(again: RowAgain, request: str) -> Iterator[RowPair]:
    """Every row of `request` that chose a token, in order; both caches are computed from its tokens alone.

    A request that was preempted and resumed is computed once for each of its lives, in which other blocks were
    dropped.
    """
    tokens, prompt = again.log.tokens_of(request), again.log.prompt_tokens_of(request)
    for rows, drops in again.log.drops.lives(request, len(tokens) - 1):
        wanted = range(max(rows.start, prompt - 1), rows.stop)
        if wanted:
            yield from _Pass(again, request, drops, wanted).pairs()


@dataclass(frozen=True, slots=True)
class _Pass:
    """Rows `wanted` of a request, in the life in which `drops` were made."""

    again: RowAgain
    request: str
    drops: Drops
    wanted: range

    def pairs(self) -> Iterator[RowPair]:
        thinned, whole = self._pool(), self._pool()
        for start in range(0, self.wanted.stop, CHUNK_ROWS):
            rows = range(start, min(start + CHUNK_ROWS, self.wanted.stop))
            chosen = [row for row in rows if row in self.wanted]
            with torch.inference_mode():
                mine = self._logits(thinned, self.drops, rows, len(chosen))
                other = self._logits(whole, NO_DROPS, rows, len(chosen))
            for row, mine_row, other_row in zip(chosen, mine, other, strict=True):
                yield RowPair(row + 1, self._without(row), mine_row, other_row)

    def _pool(self) -> KVPool:
        pool = self.again.pool
        return pool.another(blocks_for(self.wanted.stop, pool.block_size))

    def _logits(self, scratch: KVPool, drops: Drops, rows: range, logit_rows: int) -> Tensor:
        again = self.again
        asked = again.log.asked(self.request)
        span = Span(
            self.request, rows.start, len(rows), range(scratch.num_blocks), logit_rows, asked.prompt_tokens,
            asked.params.adapter, drops,
        )  # fmt: skip
        prepared = Prepared(scratch, span, again.log.tokens_of(self.request))
        logits = torch.empty(0)
        for _, _, tensor in again.stages(prepared, again.generator(prepared)):
            logits = tensor
        return logits

    def _without(self, row: int) -> int:
        return sum(first <= row for first in self.drops.values()) * self.again.pool.block_size
