"""One step's work as tensors: which tokens are computed, where their K and V go, and what each row reads."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from engine.model.reads import Read, decode_read, pieces, prefill_read, thinned_decode_read, thinned_read
from engine.model.span import Span, span_slots

__all__ = ["Batch", "Span", "span_slots"]

T = TypeVar("T")

SMALL_READ_TOKENS = 256
"""Up to here decodes of any length share one call: a call costs more than the padding."""


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
    _made: dict[Hashable, Any] = field(default_factory=dict)

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
            assert span.end <= (len(span.slots) or len(span.blocks) * block_size)
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

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns; it is called once a batch and `key`, for what layers share."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    def _make_reads(self, window: int | None, dtype: torch.dtype) -> Iterator[Read]:
        decodes: dict[tuple[int, bool], list[int]] = {}
        for index, span in enumerate(self.spans):
            if span.tokens > 1:
                read = thinned_read if span.dropped else prefill_read
                for part, part_rows in pieces(span, self.first_rows[index]):
                    yield read(part, part_rows, self.block_size, window, dtype)
            else:
                scattered = bool(span.dropped or span.slots)
                decodes.setdefault((_size_class(span, window), scattered), []).append(index)
        for (_, scattered), group in decodes.items():
            everything = len(group) == len(self.spans)
            rows = slice(None) if everything else torch.tensor([self.first_rows[index] for index in group])
            read_all = thinned_decode_read if scattered else decode_read
            yield read_all([self.spans[index] for index in group], rows, self.block_size, window, dtype)


def _size_class(span: Span, window: int | None) -> int:
    """Spans of one class read within a factor of two of each other, so that padding at most doubles a read."""
    return (max(span.end - span.first_read(window), SMALL_READ_TOKENS) - 1).bit_length()


def _write_slots(spans: Sequence[Span], block_size: int) -> list[int]:
    return [slot for span in spans for slot in _own_slots(span, block_size)]


def _own_slots(span: Span, block_size: int) -> Sequence[int]:
    """The slots of a span's tokens."""
    if span.slots:
        return span.slots[span.start : span.end]
    positions = range(span.start, span.end)
    return [span.blocks[at // block_size] * block_size + at % block_size for at in positions]
