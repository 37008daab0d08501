"""What the rows of a batch attend to: slots of the pool, found through the block tables, and masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.kv.holes import BEYOND
from engine.model.span import Span, block_slots, span_slots

PIECE_ROWS = 192
WHOLE_FROM = 768
"""From here on torch's kernel takes 256 rows at a time and leaves out keys that none of them may look at; below,
it takes 64 and computes the scores of up to 512 keys that no row will use: a quarter of a read of 512 rows."""


@dataclass(frozen=True, slots=True)
class Read:
    """What some rows of the batch attend to.

    Decode: one row a sequence, all in one call; shorter ones repeat their own last slot, masked.
    Prefill: rows of one span over one sequence, causal by position.
    """

    decode: bool
    rows: Tensor | slice
    slots: Tensor
    """`[sequences, kv]`, every slot owned by the sequence of its row."""
    mask: Tensor | None
    """Added to the scores: 0 where a row may look, -inf elsewhere; None where it may look anywhere.
    Decode `[sequences, 1, 1, kv]`, prefill `[tokens, kv]`."""
    causal: bool = False
    """No mask is needed because the rows are the positions: row r sees positions 0 to r."""
    run: slice | None = None
    """The same slots, where they are one sequence's and lie one after the other: they need no gather."""


def decode_read(
    spans: Sequence[Span], rows: Tensor | slice, block_size: int, window: int | None, dtype: torch.dtype
) -> Read:
    """One read for spans of one token each.

    A masked score weighs its value by 0, and 0 * NaN is NaN: padding must not name a slot that nobody owns.
    """
    firsts = [span.first_read(window) for span in spans]
    counts = [span.end - first for span, first in zip(spans, firsts, strict=True)]
    owned = block_slots(_padded_tables(spans, block_size), block_size)
    if len(spans) == 1:
        run = _run(spans[0], firsts[0], block_size)
        return Read(True, rows, owned[:, firsts[0] : spans[0].end], None, run=run)
    columns = torch.arange(max(counts))
    first, count = torch.tensor([firsts, counts])[:, :, None]
    slots = owned.gather(1, first + torch.minimum(columns, count - 1))
    mask = None if min(counts) == max(counts) else _additive(columns < count, dtype)[:, None, None]
    return Read(True, rows, slots, mask)


def thinned_decode_read(
    spans: Sequence[Span], rows: Tensor | slice, block_size: int, window: int | None, dtype: torch.dtype
) -> Read:
    """One read for spans of one token each that lost blocks, or whose slots no table has."""
    left = [span_slots(span, block_size)[_left(span, block_size, window)[0]] for span in spans]
    counts = torch.tensor([len(slots) for slots in left])
    most = int(counts.max())
    slots = torch.stack([F.pad(slots, (0, most - len(slots)), value=int(slots[-1])) for slots in left])
    equal = int(counts.min()) == most
    mask = None if equal else _additive(torch.arange(most) < counts[:, None], dtype)[:, None, None]
    return Read(True, rows, slots, mask)


def thinned_read(span: Span, rows: slice, block_size: int, window: int | None, dtype: torch.dtype) -> Read:
    """The read of one span of several tokens that lost blocks: nothing that no row of it reads is gathered."""
    keys, blind = _left(span, block_size, window)
    slots = span_slots(span, block_size)[keys][None]
    seen = visible(torch.arange(span.start, span.end), keys, window, blind)
    return Read(False, rows, slots, _additive(seen, dtype))


def _left(span: Span, block_size: int, window: int | None) -> tuple[Tensor, Tensor]:
    """The positions that some row of the span reads, and for each the first row that does not any more."""
    keys = torch.arange(span.first_read(window), span.end)
    blind = span.blind_from(keys, block_size)
    if blind is None:
        return keys, torch.full_like(keys, BEYOND)
    left = blind > span.start
    return keys[left], blind[left]


def pieces(span: Span, first_row: int) -> Iterator[tuple[Span, slice]]:
    """A span of several tokens in the parts that are one read each, with their rows."""
    step = PIECE_ROWS if span.tokens < WHOLE_FROM else span.tokens
    for at in range(0, span.tokens, step):
        tokens = min(step, span.tokens - at)
        yield replace(span, start=span.start + at, tokens=tokens), slice(first_row + at, first_row + at + tokens)


def prefill_read(span: Span, rows: slice, block_size: int, window: int | None, dtype: torch.dtype) -> Read:
    """The read of one span of several tokens."""
    first = span.first_read(window)
    slots, run = span_slots(span, block_size)[first:][None], _run(span, first, block_size)
    if span.start == 0 and (window is None or span.end <= window):
        return Read(False, rows, slots, None, True, run)
    seen = visible(torch.arange(span.start, span.end), torch.arange(first, span.end), window)
    return Read(False, rows, slots, _additive(seen, dtype), run=run)


def _run(span: Span, first: int, block_size: int) -> slice | None:
    """The slots of positions `first` to the span's end as a slice; None when its blocks are scattered."""
    if span.slots:
        return None
    blocks = span.used_blocks(block_size)
    start = blocks[0]
    if any(block != start + index for index, block in enumerate(blocks)):
        return None
    return slice(start * block_size + first, start * block_size + span.end)


def visible(queries: Tensor, keys: Tensor, window: int | None, blind: Tensor | None = None) -> Tensor:
    """`[queries, keys]`: True where the position of a query may look at the position of a key.

    `blind [keys]` is the first position that may not look at each any more: a KV policy dropped it.
    """
    seen = keys <= queries[:, None]
    if window is not None:
        seen.logical_and_(keys > queries[:, None] - window)
    return seen if blind is None else seen.logical_and_(queries[:, None] < blind)


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `seen`, -inf elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)


def _padded_tables(spans: Sequence[Span], block_size: int) -> list[list[int]]:
    """The used part of every block table, filled to one length with blocks of their own."""
    tables = [list(span.used_blocks(block_size)) for span in spans]
    longest = max(map(len, tables))
    return [table + table[-1:] * (longest - len(table)) for table in tables]
