"""The model itself with layers left out drafts: it reads the KV that the whole model has computed.

Drafts' own K and V lie in scratch slots, for the layers that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch

from engine.drafting import Draft
from engine.drafts import DraftRequest
from engine.executor import TorchExecutor
from engine.kv.scratch import ScratchPool
from engine.model.batch import Batch, Span
from engine.model.decoder import run
from engine.option_error import OptionError
from engine.wording.parts import ranges
from plugins.speculative.going import Floats, Going, Lane, go_on

MOST_LANES: Final = 32
"""So many requests are drafted for in one pass; others in the next."""


class SkippingModel:
    """Drafts with `executor`'s model without the layers in `left_out`; the default is every second between."""

    def __init__(self, executor: TorchExecutor, left_out: frozenset[int] | None, most: int) -> None:
        """Raises OptionError where such layers are not there, or none would be left."""
        decoder = executor.decoder
        out = frozenset(range(1, len(decoder.layers) - 1, 2)) if left_out is None else left_out
        if not out or not out < frozenset(range(len(decoder.layers))):
            given, last = ranges(sorted(out)) or "none", len(decoder.layers) - 1
            raise OptionError(
                f"plugin skip-layers: layers is {given}: leave out some, not all, of layers 0 to {last}"
            )
        self._decoder = replace(decoder, layers=tuple(each for each in decoder.layers if each.index not in out))
        self._size = executor.pool.block_size
        self._per_lane = 1 + -(-most // self._size)
        self._pool = ScratchPool(executor.pool, MOST_LANES * self._per_lane)

    def drafts(self, asked: Sequence[DraftRequest], lengths: Sequence[int]) -> list[Draft | None]:
        """A draft of so many tokens for each request."""
        found: list[Draft | None] = []
        with torch.inference_mode():
            for start in range(0, len(asked), MOST_LANES):
                found += self._group(asked[start : start + MOST_LANES], lengths[start : start + MOST_LANES])
        return found

    def _group(self, asked: Sequence[DraftRequest], lengths: Sequence[int]) -> list[Draft]:
        lanes = [self._enter(at, each) for at, each in enumerate(asked)]
        vocab = self._decoder.config.vocab_size
        going = [Going(lane, length, vocab) for lane, length in zip(lanes, lengths, strict=True)]
        logits = self._logits([lane.catching_up() for lane in lanes], [each.tokens[-1] for each in asked])
        return go_on(going, logits, self._logits)

    def _enter(self, lane: int, asked: DraftRequest) -> Lane:
        computed = len(asked.tokens) - 1
        full, used = divmod(computed, self._size)
        first = self._pool.first_block + lane * self._per_lane
        if used:
            self._pool.begin_block(asked.table[full], first, used)
        table = (*asked.table[:full], *range(first, first + self._per_lane))
        return Lane(asked, table, computed, computed, asked.params.adapter)

    def _logits(self, spans: Sequence[Span], tokens: Sequence[int]) -> Floats:
        """`[spans, vocab]`: what follows the last token of each, as far as the kept layers know."""
        found: Floats = run(self._decoder.stages(Batch.build(spans, tokens, self._size), self._pool)).numpy()
        return found
