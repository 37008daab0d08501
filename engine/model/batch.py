"""One step's work as tensors: which tokens are computed, where their K and V go, and what each row reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens of one request that this step computes.

        0 ............ start ......... end          positions
        [ in the cache ][ computed now ]
        [ blocks[0] ][ blocks[1] ][ blocks[2] ..]   `blocks` covers at least `end` positions

    `logit_rows` is how many of the last tokens get logits: 0 in the middle of a prefill, 1 when a token is
    chosen next, `tokens` to see all. `prompt_tokens` is the length of the request's prompt, which only
    dynamic rope reads.
    """

    request: str
    start: int
    tokens: int
    blocks: Sequence[int]
    logit_rows: int = 1
    prompt_tokens: int = 0

    @property
    def end(self) -> int:
        return self.start + self.tokens


@dataclass(frozen=True, slots=True)
class Read:
    """What some rows of the batch attend to, through the block tables.

    Decode: one row a sequence, all in one call; shorter ones repeat their own last slot, masked.
    Prefill: the rows of one span over one sequence, causal by position.
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


@dataclass(frozen=True, slots=True)
class Batch:
    """Spans laid end to end. Row r of every `[tokens, ...]` tensor is the r-th token."""

    spans: tuple[Span, ...]
    block_size: int
    token_ids: Tensor
    positions: Tensor
    write_slots: Tensor
    """`[tokens]`: the slot of each token's own K and V."""
    logit_rows: Tensor
    """`[rows]`: the rows whose logits are computed, span after span."""
    first_rows: tuple[int, ...]
    """The first row of each span."""
    _reads: dict[int | None, tuple[Read, ...]] = field(default_factory=dict)

    @staticmethod
    def build(spans: Sequence[Span], token_ids: Sequence[int], block_size: int) -> Batch:
        """The batch of `spans`; `token_ids` are theirs, one span after the other."""
        assert len(token_ids) == sum(span.tokens for span in spans)
        positions: list[int] = []
        logit_rows: list[int] = []
        first_rows: list[int] = []
        for span in spans:
            assert span.tokens >= 1
            assert 0 <= span.logit_rows <= span.tokens
            assert span.end <= len(span.blocks) * block_size
            first_rows.append(len(positions))
            positions.extend(range(span.start, span.end))
            logit_rows.extend(range(len(positions) - span.logit_rows, len(positions)))
        return Batch(
            tuple(spans),
            block_size,
            torch.tensor(token_ids, dtype=torch.int64),
            torch.tensor(positions, dtype=torch.int64),
            torch.tensor(_write_slots(spans, block_size), dtype=torch.int64),
            torch.tensor(logit_rows, dtype=torch.int64),
            tuple(first_rows),
        )

    @property
    def tokens(self) -> int:
        return len(self.token_ids)

    @property
    def lengths(self) -> Tensor:
        """`[tokens]`: the sequence length that dynamic rope takes for each token."""
        prompts = [span.prompt_tokens for span in self.spans for _ in range(span.tokens)]
        return torch.maximum(self.positions + 1, torch.tensor(prompts))

    def index_of(self, request: str) -> int:
        """The index of a request's span; KeyError when it has none."""
        for index, span in enumerate(self.spans):
            if span.request == request:
                return index
        raise KeyError(request)

    def rows(self, index: int) -> slice:
        """The rows of the span with this index."""
        return slice(self.first_rows[index], self.first_rows[index] + self.spans[index].tokens)

    def rows_of_logits(self, index: int) -> slice:
        """The rows of `final_norm` and `logits` that belong to the span with this index."""
        first = sum(span.logit_rows for span in self.spans[:index])
        return slice(first, first + self.spans[index].logit_rows)

    def reads(self, window: int | None, dtype: torch.dtype) -> tuple[Read, ...]:
        """What the rows of a layer with this sliding window read; made once a batch and window."""
        reads = self._reads.get(window)
        if reads is None:
            reads = self._reads[window] = tuple(self._make_reads(window, dtype))
        return reads

    def _make_reads(self, window: int | None, dtype: torch.dtype) -> Iterator[Read]:
        singles = [index for index, span in enumerate(self.spans) if span.tokens == 1]
        for index, span in enumerate(self.spans):
            if span.tokens > 1:
                yield prefill_read(span, self.rows(index), self.block_size, window, dtype)
        if singles:
            spans = [self.spans[index] for index in singles]
            everything = len(singles) == len(self.spans)
            rows = slice(None) if everything else torch.tensor([self.first_rows[index] for index in singles])
            yield decode_read(spans, rows, self.block_size, window, dtype)


def decode_read(
    spans: Sequence[Span], rows: Tensor | slice, block_size: int, window: int | None, dtype: torch.dtype
) -> Read:
    """One read for spans of one token each."""
    firsts = [_first_read(span, window) for span in spans]
    counts = [span.end - first for span, first in zip(spans, firsts, strict=True)]
    table = torch.tensor(_padded_tables(spans, block_size), dtype=torch.int64)
    owned = torch.add(torch.arange(block_size), table[:, :, None], alpha=block_size).flatten(1)
    if len(spans) == 1:
        return Read(True, rows, owned[:, firsts[0] : spans[0].end], None)
    columns = torch.arange(max(counts))
    first, count = torch.tensor([firsts, counts])[:, :, None]
    seen = columns < count
    slots = owned.gather(1, first + torch.minimum(columns, count - 1))
    mask = None if min(counts) == max(counts) else additive(seen, dtype)[:, None, None]
    return Read(True, rows, slots, mask)


def prefill_read(span: Span, rows: slice, block_size: int, window: int | None, dtype: torch.dtype) -> Read:
    """The read of one span of several tokens."""
    first = _first_read(span, window)
    slots = span_slots(span, block_size)[first:][None]
    if span.start == 0 and (window is None or span.end <= window):
        return Read(False, rows, slots, None, causal=True)
    seen = visible(torch.arange(span.start, span.end), torch.arange(first, span.end), window)
    return Read(False, rows, slots, additive(seen, dtype))


def visible(queries: Tensor, keys: Tensor, window: int | None) -> Tensor:
    """`[queries, keys]`: True where the position of a query may look at the position of a key."""
    distance = queries[:, None] - keys
    return distance >= 0 if window is None else (distance >= 0) & (distance < window)


def additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `seen`, -inf elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)


def span_slots(span: Span, block_size: int) -> Tensor:
    """`[end]`: the slots of a span's positions from 0 on."""
    table = torch.tensor(span.blocks[: -(-span.end // block_size)], dtype=torch.int64)
    return torch.add(torch.arange(block_size), table[:, None], alpha=block_size).flatten()[: span.end]


def _first_read(span: Span, window: int | None) -> int:
    """The first position that any token of the span may look at."""
    return 0 if window is None else max(0, span.start - window + 1)


def _padded_tables(spans: Sequence[Span], block_size: int) -> list[list[int]]:
    """The used part of every block table, filled to one length with blocks of their own."""
    tables = [list(span.blocks[: -(-span.end // block_size)]) for span in spans]
    longest = max(map(len, tables))
    return [table + table[-1:] * (longest - len(table)) for table in tables]


def _write_slots(spans: Sequence[Span], block_size: int) -> list[int]:
    return [
        span.blocks[position // block_size] * block_size + position % block_size
        for span in spans
        for position in range(span.start, span.end)
    ]
