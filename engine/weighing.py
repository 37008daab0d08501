"""What rows attend to, block by block: measured beside the kernel, for a KV policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from engine.capture import Taken
from engine.execution import Job, Outcome, Slice, Weighing
from engine.forward import Choose
from engine.kv.holes import HOLE
from engine.kv.pool import KVPool
from engine.model.attention_pattern import attended
from engine.model.batch import Batch
from engine.model.decoder import Decoder
from engine.plugs_kv import GuardedKVPolicy

MOST_WEIGHTS = 1 << 24  # entries of a layer's patterns at a time: heads x rows x kv
DIGITS = 6  # of what is recorded, and so of what decides


@dataclass(slots=True)
class Weigher:
    """Sums up the attention weights of the rows that `policy` wants, over all heads, layer after layer."""

    decoder: Decoder
    pool: KVPool
    batch: Batch
    rows: dict[int, range]  # by span, the positions whose rows are measured
    _sums: dict[int, Tensor] = field(default_factory=dict)  # by span, [end], float64
    _queries: Tensor = field(default_factory=lambda: torch.empty(0))

    def at(self, layer: int, stage: str, tensor: Tensor) -> None:
        """Take the queries, and weigh them once the layer's keys are in their slots."""
        if stage == "q_rot":
            self._queries = tensor
        elif stage == "attn_out":
            for index, positions in self.rows.items():
                self._weigh(layer, index, positions)

    def _weigh(self, layer: int, index: int, positions: range) -> None:
        span = self.batch.spans[index]
        queries = self._queries[self.batch.rows(index)]
        sums = self._sums.setdefault(index, torch.zeros(span.end, dtype=torch.float64))
        window = self.decoder.layers[layer].window
        most = max(1, MOST_WEIGHTS // (queries.shape[1] * span.end))
        for start in range(positions.start, positions.stop, most):
            at = torch.arange(start, min(start + most, positions.stop))
            found = attended(queries[at - span.start], self.pool, layer, span, window, at)
            sums += found.weights.sum((0, 1), dtype=torch.float64)

    def beside(self, choose: Choose) -> Choose:
        """`choose`, whose outcome tells what was measured as well."""

        def chosen(job: Job, logits: Tensor, forward_ns: int, captured: Sequence[Taken]) -> Outcome:
            return replace(choose(job, logits, forward_ns, captured), weighed=self.found())

        return chosen

    def found(self) -> list[Weighing]:
        """The sums of every span, block by block; once the pass is over."""
        return [self._by_block(index, sums) for index, sums in self._sums.items()]

    def _by_block(self, index: int, sums: Tensor) -> Weighing:
        span, positions, size = self.batch.spans[index], self.rows[index], self.batch.block_size
        kept = tuple(i for i, block in enumerate(span.used_blocks(size)) if block != HOLE)
        of_block = torch.zeros(len(span.used_blocks(size)), dtype=torch.float64)
        of_block.index_add_(0, torch.arange(span.end) // size, sums)
        weights = tuple(round(weight, DIGITS) for weight in of_block[list(kept)].tolist())
        return Weighing(span.request, positions.start, positions.stop, kept, weights)


def rows_to_weigh(policy: GuardedKVPolicy, slices: Sequence[Slice]) -> dict[int, range]:
    """By slice, the positions whose rows `policy` wants measured."""
    wanted = {
        index: policy.rows_to_weigh(part.prompt_tokens, part.work.start, part.work.stop)
        for index, part in enumerate(slices)
    }
    return {index: positions for index, positions in wanted.items() if positions}
