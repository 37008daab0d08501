"""Attention of a layer over the paged pool: one gather and one kernel call a read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.kv.pool import KVPool
from engine.model.batch import Batch
from engine.model.reads import Read, visible
from engine.model.span import Span, span_slots


def attend(q: Tensor, pool: KVPool, layer: int, batch: Batch, window: int | None) -> Tensor:
    """Attention output of all rows: `q` rotated and result `[tokens, heads, head_dim]`."""
    reads = batch.reads(window, q.dtype)
    if len(reads) == 1:
        return _attend_read(q, pool, layer, reads[0])
    out = torch.empty_like(q)
    for read in reads:
        out[read.rows] = _attend_read(q[read.rows], pool, layer, read)
    return out


def _attend_read(q: Tensor, pool: KVPool, layer: int, read: Read) -> Tensor:
    """One read's rows: keys and values come out of the pool as `[sequences, kv_heads, kv, head_dim]`."""
    sequences, length = read.slots.shape
    held = pool.gather(layer, read.slots.flatten()) if read.run is None else pool.read(layer, read.run)
    kv = held.view(sequences, length, 2, -1, q.shape[-1])
    key, value = kv.permute(2, 0, 3, 1, 4).unbind()
    return _decode(q, key, value, read) if read.decode else _prefill(q, key, value, read)


def _decode(q: Tensor, key: Tensor, value: Tensor, read: Read) -> Tensor:
    """The heads that share a KV head stand as its queries: `[sequences, kv_heads, group, head_dim]`."""
    grouped = q.view(len(q), key.shape[1], -1, q.shape[-1])
    return F.scaled_dot_product_attention(grouped, key, value, read.mask).flatten(1, 2)


def _prefill(q: Tensor, key: Tensor, value: Tensor, read: Read) -> Tensor:
    out = F.scaled_dot_product_attention(
        q.transpose(0, 1)[None], key, value, read.mask, is_causal=read.causal, enable_gqa=True
    )
    return out[0].transpose(0, 1)


def scores(q: Tensor, key: Tensor, span: Span, window: int | None, positions: Tensor | None = None) -> Tensor:
    """Scaled scores over all positions of a span, -inf where a query may not look, in float32.

    `q [queries, heads, head_dim]`, `key [end, heads, head_dim]` -> `[heads, queries, end]`. The queries are
    the span's tokens, or those at `positions [queries]`.
    """
    if positions is None:
        positions = torch.arange(span.start, span.end)
    products: Tensor = torch.einsum("qhd,khd->hqk", q.float(), key.float()) * q.shape[-1] ** -0.5
    return products.masked_fill(~visible(positions, torch.arange(span.end), window), -torch.inf)


def span_kv(
    pool: KVPool, layer: int, span: Span, heads: int, wanted: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """K and V of a span's positions for each of a model's `heads`, or for the `wanted` ones among them.

    `[end, heads, head_dim]` each; heads that share a KV head get it repeated.
    """
    kv = pool.gather(layer, span_slots(span, pool.block_size))
    group = heads // kv.shape[2]
    kv = kv[:, :, [head // group for head in (range(heads) if wanted is None else wanted)]]
    return kv[:, 0], kv[:, 1]
