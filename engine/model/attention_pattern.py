"""What rows of a span attend to, computed beside the kernel that the pass itself uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.kv.pool import KVPool
from engine.model.attention import mix, scores, span_kv
from engine.model.span import Span


@dataclass(frozen=True, slots=True)
class Attended:
    """Attention of some rows over a span's positions from 0 on, float32 `[heads, rows, end]`."""

    scores: Tensor
    """Scaled, -inf where a row may not look."""
    weights: Tensor
    """Their softmax."""
    value: Tensor
    """`[read, kv_heads, head_dim]` of the latest `read` positions; no row looks before those."""

    def off(self, out: Tensor) -> float:
        """max|weights · V - out|: how far this is from explaining `out [rows, heads, head_dim]` of the kernel."""
        read = self.weights[..., -len(self.value) :]
        return (mix(read, self.value) - out.float()).abs().max().item()


def attended(
    q: Tensor, pool: KVPool, layer: int, span: Span, window: int | None,
    at: Tensor | None = None, heads: Sequence[int] | None = None,
) -> Attended:  # fmt: skip
    """What rotated queries `q [rows, all heads, head_dim]` of `span` make of the keys of a layer.

    They stand at positions `at [rows]`, or are all tokens of the span. Only `heads` are looked at, or all.
    """
    at = torch.arange(span.start, span.end) if at is None else at
    first = 0 if window is None else max(0, int(at.min()) - window + 1)
    key, value = span_kv(pool, layer, span, first)
    if heads is not None:
        of_head = [head // (q.shape[1] // key.shape[1]) for head in heads]
        q, key, value = q[:, list(heads)], key[:, of_head], value[:, of_head]
    keys = torch.arange(first, span.end)
    found = scores(q, key, at, keys, window, span.blind_from(keys, pool.block_size))
    return Attended(_from_zero(found, first, -torch.inf), _from_zero(found.softmax(-1), first, 0.0), value)


def _from_zero(found: Tensor, first: int, unseen: float) -> Tensor:
    """`found` of the positions from `first` on, with `unseen` at those before."""
    return F.pad(found, (first, 0), value=unseen) if first else found
