"""Attention of a layer over the paged pool: one gather and one kernel call a read."""

from __future__ import annotations

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


def scores(
    q: Tensor, key: Tensor, queries_at: Tensor, keys_at: Tensor, window: int | None, blind: Tensor | None = None
) -> Tensor:
    """Scaled scores in float32 `[heads, queries, kv]`, -inf where a query may not look.

    `q [queries, heads, head_dim]` stand at positions `queries_at [queries]`, `key [kv, kv_heads, head_dim]` at
    `keys_at [kv]`, of which `blind` says who may not look, as `visible` has it.
    """
    grouped = (q.float() * q.shape[-1] ** -0.5).view(len(q), key.shape[1], -1, q.shape[-1])
    by_head = grouped.permute(1, 2, 0, 3).flatten(1, 2)  # one product for the heads that share a KV head
    products: Tensor = (by_head @ key.float().permute(1, 2, 0)).view(-1, len(q), len(key))
    return products.masked_fill_(~visible(queries_at, keys_at, window, blind), -torch.inf)


def mix(weights: Tensor, value: Tensor) -> Tensor:
    """`[queries, heads, head_dim]`: what `weights [heads, queries, kv]` take of `value [kv, kv_heads, dim]`."""
    grouped = weights.view(value.shape[1], -1, *weights.shape[1:])
    mixed: Tensor = torch.einsum("hgqk,khd->qhgd", grouped, value.float()).flatten(1, 2)
    return mixed


def span_kv(pool: KVPool, layer: int, span: Span, first: int = 0) -> tuple[Tensor, Tensor]:
    """K and V of a span's positions from `first` on, `[end - first, kv_heads, head_dim]` each."""
    key, value = pool.gather(layer, span_slots(span, pool.block_size)[first:]).unbind(1)
    return key, value
