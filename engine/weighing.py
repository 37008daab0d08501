"""What rows attend to, block by block: measured beside the kernel, for a KV policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from engine.capture import Taken
from engine.execution import Job, Outcome, Weighing
from engine.forward import Choose
from engine.kv.holes import HOLE
from engine.kv.pool import KVPool
from engine.model.attention_pattern import attended
from engine.model.batch import Batch
from engine.model.decoder import Decoder
from engine.plugs_kv import GuardedKVPolicy

MOST_WEIGHTS = 1 << 24  # entries of a layer's patterns at a time: heads x rows x kv
DIGITS = 6  # of what is recorded, and so of what decides


@dataclass(frozen=True, slots=True)
class Part:
    """Rows at `positions` of a span, whose attention is summed up to `sums` [end], float64."""

    span: int
    positions: range
    sums: Tensor


@dataclass(slots=True)
class Weigher:
    """Sums up the attention weights of the rows that a policy wants, over all heads, layer after layer."""

    decoder: Decoder
    pool: KVPool
    batch: Batch
    parts: Sequence[Part]
    _queries: Tensor = field(default_factory=lambda: torch.empty(0))

    @staticmethod
    def of(job: Job, policy: GuardedKVPolicy, decoder: Decoder, pool: KVPool, batch: Batch) -> Weigher | None:
        """Who measures what `policy` wants of `job`; None where that is nothing."""
        parts: list[Part] = []
        for index, part in enumerate(job.slices):
            rows = policy.rows_to_weigh(part.prompt_tokens, part.work.start, part.work.stop)
            if rows:
                parts.append(Part(index, rows, torch.zeros(batch.spans[index].end, dtype=torch.float64)))
        return Weigher(decoder, pool, batch, parts) if parts else None

    def at(self, layer: int, stage: str, tensor: Tensor) -> None:
        """Take the queries, and weigh them once the layer's keys are in their slots."""
        if stage == "q_rot":
            self._queries = tensor
        elif stage == "attn_out":
            for part in self.parts:
                self._weigh(layer, part)

    def _weigh(self, layer: int, part: Part) -> None:
        span = self.batch.spans[part.span]
        queries = self._queries[self.batch.rows(part.span)]
        window = self.decoder.layers[layer].window
        most = max(1, MOST_WEIGHTS // (queries.shape[1] * span.end))
        for start in range(part.positions.start, part.positions.stop, most):
            at = torch.arange(start, min(start + most, part.positions.stop))
            found = attended(queries[at - span.start], self.pool, layer, span, window, at)
            part.sums.add_(found.weights.sum((0, 1), dtype=torch.float64))

    def beside(self, choose: Choose) -> Choose:
        """`choose`, whose outcome tells what was measured as well."""

        def chosen(job: Job, logits: Tensor, forward_ns: int, captured: Sequence[Taken]) -> Outcome:
            return replace(choose(job, logits, forward_ns, captured), weighed=[*map(self._by_block, self.parts)])

        return chosen

    def _by_block(self, part: Part) -> Weighing:
        span, size = self.batch.spans[part.span], self.batch.block_size
        blocks = span.used_blocks(size)
        kept = tuple(index for index, block in enumerate(blocks) if block != HOLE)
        of_block = torch.zeros(len(blocks), dtype=torch.float64)
        of_block.index_add_(0, torch.arange(span.end) // size, part.sums)
        weights = tuple(round(weight, DIGITS) for weight in of_block[list(kept)].tolist())
        return Weighing(span.request, part.positions.start, len(part.positions), kept, weights)
