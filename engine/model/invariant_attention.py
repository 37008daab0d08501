"""Attention in which a row's bits do not depend on the batch: `TILE_QUERIES` rows over a fixed range of keys.

The range follows from the row's position alone: from a multiple of `KEY_STEP` on, a power of two of keys.

    0       first           position          first + count       keys
    |       [...............x.................)                   what a call reads
                    [.......x]                                    what the row may look at: the rest weighs 0

Keys that the row may not look at weigh exactly 0, and adding 0 times a value changes no bit of a sum. Positions
that are not computed yet, or by another chunk, are stood for by the last one that the request owns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from engine.kv.pool import KVPool
from engine.model.batch import Batch
from engine.model.reads import visible
from engine.model.span import Span, span_slots

TILE_QUERIES = 4
KEY_STEP = 64


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys from position `first` on, `count` of them, whether they exist yet or not."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Tile:
    """Some rows of one span that read the same keys. `slots` is `[count]`, `mask` `[TILE_QUERIES, count]`."""

    rows: slice
    slots: Tensor
    mask: Tensor


def attend_in_tiles(q: Tensor, pool: KVPool, layer: int, batch: Batch, window: int | None) -> Tensor:
    """Attention output of all rows: `q` rotated and result `[tokens, heads, head_dim]`."""
    out = torch.empty_like(q)
    for tile in batch.once(("tiles", window), lambda: tuple(_tiles(batch, window))):
        out[tile.rows] = _attend(q[tile.rows], pool.gather(layer, tile.slots), tile.mask)
    return out


def key_range(position: int, window: int | None) -> KeyRange:
    """The keys that a call reads for the row at `position`."""
    first = 0 if window is None else max(0, position - window + 1) // KEY_STEP * KEY_STEP
    needed = max(position + 1 - first, KEY_STEP)
    return KeyRange(first, 1 << (needed - 1).bit_length())


def _tiles(batch: Batch, window: int | None) -> Iterator[Tile]:
    for index, span in enumerate(batch.spans):
        slots = span_slots(span, batch.block_size)
        row = batch.first_rows[index]
        for keys, same in groupby(range(span.start, span.end), lambda position: key_range(position, window)):
            positions = list(same)
            held = _held(keys, span)
            for start in range(0, len(positions), TILE_QUERIES):
                part = positions[start : start + TILE_QUERIES]
                blind = span.blind_from(held, batch.block_size)
                yield Tile(slice(row, row + len(part)), slots[held], _mask(part, keys, window, blind))
                row += len(part)


def _held(keys: KeyRange, span: Span) -> Tensor:
    """The positions of `keys`, each beyond the span's end replaced by its last one, which is owned."""
    return torch.arange(keys.first, keys.first + keys.count).clamp_(max=span.end - 1)


def _mask(positions: Sequence[int], keys: KeyRange, window: int | None, blind: Tensor | None) -> Tensor:
    """0 where a row may look, -inf elsewhere; rows that only fill the tile look where the last one does."""
    queries = torch.tensor([*positions, *[positions[-1]] * (TILE_QUERIES - len(positions))])
    seen = visible(queries, torch.arange(keys.first, keys.first + keys.count), window, blind)
    return torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)


def _attend(q: Tensor, kv: Tensor, mask: Tensor) -> Tensor:
    """`q [rows, heads, head_dim]` over `kv [count, 2, kv_heads, head_dim]`, computed in float32."""
    rows, heads, size = q.shape
    count, _, kv_heads, _ = kv.shape
    key, value = kv.float().permute(1, 2, 0, 3).unbind()  # [kv_heads, count, head_dim]
    queries = torch.zeros(TILE_QUERIES, kv_heads, heads // kv_heads, size)
    queries[:rows] = q.view(rows, kv_heads, -1, size)
    flat = queries.transpose(0, 1).reshape(kv_heads, -1, size)  # [kv_heads, rows * group, head_dim]
    scores = torch.bmm(flat, key.transpose(1, 2)).mul_(size**-0.5)
    weights = scores.view(kv_heads, TILE_QUERIES, -1, count).add_(mask[:, None]).softmax(-1)
    out = torch.bmm(weights.view(kv_heads, -1, count), value)
    return (
        out.view(kv_heads, TILE_QUERIES, -1, size).transpose(0, 1)[:rows].reshape(rows, heads, size).to(q.dtype)
    )
