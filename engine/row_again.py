"""One row computed again, without touching the run.

It is computed in a pool of its own. KV that the run still holds is copied there; the rest is prefilled again.
So nothing the engine does later can depend on whether somebody looked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from engine.events import Work
from engine.execution import Slice, limits_of
from engine.kv.holes import HOLE, NO_DROPS, Drops, read_from, same_before
from engine.kv.pool import KVPool
from engine.kv.prefix import find
from engine.kv.radix import chain_hashes
from engine.kv.seeds import seed_of
from engine.model.batch import Batch, Span, span_slots
from engine.model.decoder import Decoder
from engine.model.layer import Stage, Stages
from engine.planning.sizes import blocks_for
from engine.scaling import Scaler
from engine.state import State
from engine.tokens import TokenLog

CHUNK_TOKENS = 512  # of a prefix that is prefilled again


class InspectionError(ValueError):
    """A row that does not exist: one line."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows `span` of a sequence, whose KV up to there lies in `scratch`.

    That of `reused` positions was still in the run's pool; that of `prefilled` was computed again.
    """

    scratch: KVPool
    span: Span
    tokens: Sequence[int]
    reused: int = 0
    prefilled: int = 0

    @property
    def token_ids(self) -> Sequence[int]:
        return self.tokens[self.span.start : self.span.end]

    @property
    def batch(self) -> Batch:
        return Batch.build([self.span], self.token_ids, self.scratch.block_size)


@dataclass(frozen=True, slots=True)
class RowAgain:
    """Rows of the run that `state` and `log` tell of, with its weights and its KV. Enter inference mode first.

    `adapter` computes them under another adapter than their request's ("": under none), all of them again.
    """

    decoder: Decoder
    pool: KVPool
    state: State
    log: TokenLog
    adapter: str | None = None

    def tokens(self, request: str, position: int) -> Sequence[int]:
        """The tokens of `request` up to and with `position`. Raises InspectionError when there is none."""
        if request not in self.log:
            raise InspectionError(f"there is no request {request}")
        tokens = self.log.tokens_of(request)
        if not 0 <= position < len(tokens):
            raise InspectionError(f"request {request} has no position {position}: it has {len(tokens)} tokens")
        return tokens[: position + 1]

    def prepare(self, request: str, tokens: Sequence[int], rows: int) -> Prepared:
        """Have everything before the last `rows` of `tokens` in a pool of their own."""
        blocks = blocks_for(len(tokens), self._size)
        prompt = self.log.prompt_tokens_of(request)
        adapter = self._adapter_of(request)
        dropped = self._dropped(request, len(tokens) - 1)
        span = Span(request, len(tokens) - rows, rows, range(blocks), 1, prompt, adapter, dropped)
        scratch = self.pool.another(blocks)
        reused = self._copy(scratch, span, tokens)
        for start in range(reused, span.start, CHUNK_TOKENS):
            count = min(CHUNK_TOKENS, span.start - start)
            chunk = Prepared(scratch, replace(span, start=start, tokens=count, logit_rows=0), tokens)
            for _ in self.stages(chunk, self.generator(chunk)):
                pass
        return Prepared(scratch, span, tokens, reused, span.start - reused)

    def generator(self, prepared: Prepared) -> Stages:
        """The forward pass of the prepared rows as the model runs it: for `stages`."""
        return self.decoder.stages(prepared.batch, prepared.scratch)

    def stages(self, prepared: Prepared, generator: Stages) -> Iterator[Stage]:
        """Every stage of the prepared rows as the run had it: what a person scaled is scaled."""
        span = prepared.span
        work = Work(span.request, "prefill", span.start, span.tokens)
        intervened = self.log.intervened_of(span.request)
        part = Slice(work, prepared.token_ids, span.blocks, span.prompt_tokens, intervened)
        scaler = Scaler([part], prepared.batch)
        for layer, stage, tensor in generator:
            scaler.at(layer, stage, tensor)
            yield layer, stage, tensor

    def _adapter_of(self, request: str) -> str:
        return self.log.asked(request).params.adapter if self.adapter is None else self.adapter

    @property
    def _size(self) -> int:
        return self.pool.block_size

    def _dropped(self, request: str, position: int) -> Drops:
        """What a KV policy had taken from the row at `position`, and from those before it."""
        drops = self.log.drops.at(request, position)
        return {index: first for index, first in drops.items() if first <= position}

    def _copy(self, scratch: KVPool, span: Span, tokens: Sequence[int]) -> int:
        """Copy what the run still holds of the positions before `span`; how many need not be computed."""
        table, kept = self._kept(span.request, tokens)
        live = self.state.requests.get(span.request)
        holes = live.dropped if live is not None and table is live.table else NO_DROPS
        reused = min(kept, span.start, same_before(span.dropped, holes))
        if any(index * self._size < reused and read_from(span.dropped, index, span.start) for index in holes):
            reused = min(min(holes) * self._size, reused)  # a row of the span reads what is gone
        there = [position for position in range(reused) if table[position // self._size] != HOLE]
        if there:
            slots = span_slots(Span(span.request, 0, reused, table, dropped=holes), self._size)
            scratch.copy_slots(self.pool, slots[there], torch.tensor(there))
        return reused

    def _kept(self, request: str, tokens: Sequence[int]) -> tuple[Sequence[int], int]:
        """The blocks that still hold the start of `tokens`, and how many positions of it."""
        params = self.log.asked(request).params
        if self._adapter_of(request) != params.adapter:
            return (), 0
        live = self.state.requests.get(request)
        if live is not None and live.computed:
            return live.table, live.computed
        shareable = limits_of(self.decoder.config).shareable_prompt
        if shareable is not None and self.log.prompt_tokens_of(request) > shareable:
            return (), 0
        walk = find(self.state, self.log, tokens, chain_hashes(tokens, self._size, seed_of(params)))
        kept = len(walk.blocks) * self._size
        intervened = self.log.intervened_of(request)  # what the tree holds was computed as it is
        return walk.blocks, kept if intervened is None else min(kept, intervened.start)
