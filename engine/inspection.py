"""Looking at one row again: its logits and what every head attended to."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from engine import protocol as pr
from engine.kv.pool import KVPool
from engine.model.attention_pattern import attended
from engine.model.batch import Span
from engine.model.decoder import Decoder
from engine.row_again import InspectionError, Prepared, RowAgain
from engine.state import State
from engine.tokens import TokenLog

__all__ = ["InspectionError", "Inspector"]

MOST_COLUMNS = 2048  # of a row before it is pooled
MOST_GRID = 64  # cells of a side of the pooled patterns
MOST_PATTERN = 1 << 26  # entries of one layer's patterns at a time: heads x rows x kv


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
        again = RowAgain(self.decoder, self.pool, self.state, self.log)
        tokens = again.tokens(command.request, command.position)
        self._check(command)
        with torch.inference_mode():
            prepared = again.prepare(command.request, tokens, self._row_count(command))
            logits, patterns = self._run(again, prepared, command)
        return _answer(command, logits[-1], patterns, prepared)

    def _check(self, command: pr.Inspect) -> None:
        config = self.decoder.config
        if not (0 <= command.layer < config.layers and 0 <= command.head < config.heads):
            raise InspectionError(
                f"there is no layer {command.layer} head {command.head}:"
                f" the model has {config.layers} layers of {config.heads} heads"
            )
        if not 1 <= command.grid <= MOST_GRID:
            raise InspectionError(f"grid is {command.grid}: it must be between 1 and {MOST_GRID}")

    def _row_count(self, command: pr.Inspect) -> int:
        kv = command.position + 1
        most = max(1, MOST_PATTERN // (self.decoder.config.heads * kv))
        return max(1, min(command.rows, kv, most))

    def _run(self, again: RowAgain, prepared: Prepared, command: pr.Inspect) -> tuple[Tensor, Patterns]:
        patterns = Patterns()
        queries = logits = torch.empty(0)
        for layer, stage, tensor in again.stages(prepared, again.generator(prepared)):
            if stage == "q_rot":
                queries = tensor
            elif stage == "attn_out":
                self._look(prepared.scratch, prepared.span, layer, queries, tensor, command, patterns)
            logits = tensor
        return logits, patterns

    def _look(
        self, scratch: KVPool, span: Span, layer: int, queries: Tensor, out: Tensor,
        command: pr.Inspect, patterns: Patterns,
    ) -> None:  # fmt: skip
        """The patterns of one layer, computed beside its attention and checked against what came out."""
        found = attended(queries, scratch, layer, span, self.decoder.layers[layer].window)
        weights = found.weights
        patterns.check = max(patterns.check, found.off(out))
        patterns.rows.append(weights[:, -1])
        patterns.grids.append(F.adaptive_max_pool2d(weights, command.grid))
        if layer == command.layer:
            patterns.focus = weights[command.head]


def _answer(command: pr.Inspect, logits: Tensor, patterns: Patterns, prepared: Prepared) -> pr.Inspection:
    row = torch.stack(patterns.rows)
    layers, heads, kv = row.shape
    pool = -(-kv // MOST_COLUMNS)
    distance = (torch.arange(kv - 1, -1, -1) * row).sum(-1)
    return pr.Inspection(
        id=command.id, request=command.request, position=command.position, layer=command.layer,
        head=command.head, rows=prepared.span.tokens, layers=layers, heads=heads, kv=kv, pool=pool,
        grid_size=command.grid,
        logits=_bytes(logits), row=_bytes(_pooled(row, pool)), focus=_bytes(_pooled(patterns.focus, pool)),
        grid=_bytes(torch.stack(patterns.grids)), head_entropy=_bytes(torch.special.entr(row).sum(-1)),
        head_sink=_bytes(row[..., 0]), head_distance=_bytes(distance), check=patterns.check,
        reused=prepared.reused, prefilled=prepared.prefilled,
    )  # fmt: skip


def _pooled(values: Tensor, pool: int) -> Tensor:
    """The largest of every `pool` columns."""
    if pool == 1:
        return values
    flat = F.max_pool1d(values.flatten(0, -2)[:, None], pool, ceil_mode=True)
    return flat.view(*values.shape[:-1], -1)


def _bytes(values: Tensor) -> bytes:
    return values.float().contiguous().numpy().tobytes()
