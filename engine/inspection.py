"""Looking at one row again: its logits and what every head attended to, without touching the run.

The rows are computed in a pool of their own. KV that the run still holds is copied there; the rest is
prefilled again. So nothing the engine does later can depend on whether somebody looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from engine import protocol as pr
from engine.execution import limits_of
from engine.kv.pool import KVPool
from engine.kv.prefix import find
from engine.kv.radix import chain_hashes
from engine.model.attention import scores, span_kv
from engine.model.batch import Batch, Span, span_slots
from engine.model.decoder import Decoder, run
from engine.scheduler import blocks_for
from engine.state import State
from engine.tokens import TokenLog

CHUNK_TOKENS = 512  # of a prefix that is prefilled again
MOST_COLUMNS = 2048  # of a row before it is pooled
MOST_GRID = 64  # cells of a side of the pooled patterns
MOST_PATTERN = 1 << 26  # entries of one layer's patterns at a time: heads x rows x kv


class InspectionError(ValueError):
    """A row that does not exist: one line."""


@dataclass(slots=True)
class Patterns:
    """What the heads of the rows attended to, gathered layer by layer."""

    rows: list[Tensor] = field(default_factory=list)  # [heads, kv] of the last row
    grids: list[Tensor] = field(default_factory=list)  # [heads, grid, grid]
    focus: Tensor = field(default_factory=lambda: torch.empty(0))  # [rows, kv]
    check: float = 0.0


@dataclass(frozen=True, slots=True)
class Inspector:
    """Inspects requests of the run that `state` and `log` tell of, with its weights and its KV."""

    decoder: Decoder
    pool: KVPool
    state: State
    log: TokenLog

    def inspect(self, command: pr.Inspect) -> pr.Inspection:
        """Compute input row `command.position` again. Raises InspectionError when there is none."""
        tokens = self._tokens(command)
        rows = self._row_count(command)
        span = Span(command.request, len(tokens) - rows, rows, range(blocks_for(len(tokens), self._size)))
        with torch.inference_mode():
            scratch, reused = self._scratch(command.request, tokens, span.start)
            self._prefill(scratch, tokens, span, reused)
            logits, patterns = self._run(scratch, tokens, span, command)
        return _answer(command, logits[-1], patterns, rows, reused, span.start - reused)

    @property
    def _size(self) -> int:
        return self.pool.block_size

    def _tokens(self, command: pr.Inspect) -> Sequence[int]:
        try:
            tokens = self.log.tokens_of(command.request)
        except KeyError:
            raise InspectionError(f"there is no request {command.request}") from None
        if not 0 <= command.position < len(tokens):
            raise InspectionError(
                f"request {command.request} has no position {command.position}: it has {len(tokens)} tokens"
            )
        config = self.decoder.config
        if not (0 <= command.layer < config.layers and 0 <= command.head < config.heads):
            raise InspectionError(
                f"there is no layer {command.layer} head {command.head}:"
                f" the model has {config.layers} layers of {config.heads} heads"
            )
        if not 1 <= command.grid <= MOST_GRID:
            raise InspectionError(f"grid is {command.grid}: it must be between 1 and {MOST_GRID}")
        return tokens[: command.position + 1]

    def _row_count(self, command: pr.Inspect) -> int:
        kv = command.position + 1
        most = max(1, MOST_PATTERN // (self.decoder.config.heads * kv))
        return max(1, min(command.rows, kv, most))

    def _scratch(self, request: str, tokens: Sequence[int], wanted: int) -> tuple[KVPool, int]:
        """A pool for this sequence alone, and how many of its first `wanted` positions it has already."""
        scratch = KVPool(self.decoder.config, blocks_for(len(tokens), self._size), self._size, self.pool.dtype)
        table, kept = self._kept(request, tokens)
        reused = min(kept, wanted)
        if reused:
            slots = span_slots(Span(request, 0, reused, table), self._size)
            for layer, target in enumerate(scratch.layers):
                target[:reused] = self.pool.gather(layer, slots)
        return scratch, reused

    def _kept(self, request: str, tokens: Sequence[int]) -> tuple[Sequence[int], int]:
        """The blocks that still hold the start of `tokens`, and how many positions of it."""
        live = self.state.requests.get(request)
        if live is not None and live.computed:
            return live.table, live.computed
        shareable = limits_of(self.decoder.config).shareable_prompt
        if shareable is not None and self.log.prompt_tokens_of(request) > shareable:
            return (), 0
        walk = find(self.state, self.log, tokens, chain_hashes(tokens, self._size))
        return walk.blocks, len(walk.blocks) * self._size

    def _prefill(self, scratch: KVPool, tokens: Sequence[int], span: Span, reused: int) -> None:
        for start in range(reused, span.start, CHUNK_TOKENS):
            count = min(CHUNK_TOKENS, span.start - start)
            chunk = Span(span.request, start, count, span.blocks, 0, self.log.prompt_tokens_of(span.request))
            run(self.decoder.stages(self._batch(chunk, tokens), scratch))

    def _run(
        self, scratch: KVPool, tokens: Sequence[int], span: Span, command: pr.Inspect
    ) -> tuple[Tensor, Patterns]:
        patterns = Patterns()
        queries = torch.empty(0)
        span = replace(span, logit_rows=1, prompt_tokens=self.log.prompt_tokens_of(span.request))
        stages = self.decoder.stages(self._batch(span, tokens), scratch)
        logits = torch.empty(0)
        for layer, stage, tensor in stages:
            if stage == "q_rot":
                queries = tensor
            elif stage == "attn_out":
                self._look(scratch, span, layer, queries, tensor, command, patterns)
            logits = tensor
        return logits, patterns

    def _look(
        self, scratch: KVPool, span: Span, layer: int, queries: Tensor, out: Tensor,
        command: pr.Inspect, patterns: Patterns,
    ) -> None:  # fmt: skip
        """The patterns of one layer, computed beside its attention and checked against what came out."""
        key, value = span_kv(scratch, layer, span, self.decoder.config.heads)
        weights = scores(queries, key, span, self.decoder.layers[layer].window).softmax(dim=-1)
        again = torch.einsum("hqk,khd->qhd", weights, value.float())
        patterns.check = max(patterns.check, (again - out.float()).abs().max().item())
        patterns.rows.append(weights[:, -1])
        patterns.grids.append(F.adaptive_max_pool2d(weights, command.grid))
        if layer == command.layer:
            patterns.focus = weights[command.head]

    def _batch(self, span: Span, tokens: Sequence[int]) -> Batch:
        return Batch.build([span], tokens[span.start : span.end], self._size)


def _answer(
    command: pr.Inspect, logits: Tensor, patterns: Patterns, rows: int, reused: int, prefilled: int
) -> pr.Inspection:
    row = torch.stack(patterns.rows)
    layers, heads, kv = row.shape
    pool = -(-kv // MOST_COLUMNS)
    distance = (torch.arange(kv - 1, -1, -1) * row).sum(-1)
    return pr.Inspection(
        id=command.id, request=command.request, position=command.position, layer=command.layer,
        head=command.head, rows=rows, layers=layers, heads=heads, kv=kv, pool=pool, grid_size=command.grid,
        logits=_bytes(logits), row=_bytes(_pooled(row, pool)), focus=_bytes(_pooled(patterns.focus, pool)),
        grid=_bytes(torch.stack(patterns.grids)), head_entropy=_bytes(torch.special.entr(row).sum(-1)),
        head_sink=_bytes(row[..., 0]), head_distance=_bytes(distance), check=patterns.check,
        reused=reused, prefilled=prefilled,
    )  # fmt: skip


def _pooled(values: Tensor, pool: int) -> Tensor:
    """The largest of every `pool` columns."""
    if pool == 1:
        return values
    flat = F.max_pool1d(values.flatten(0, -2)[:, None], pool, ceil_mode=True)
    return flat.view(*values.shape[:-1], -1)


def _bytes(values: Tensor) -> bytes:
    return values.float().contiguous().numpy().tobytes()
