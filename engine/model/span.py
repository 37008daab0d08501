"""The tokens of one request that a step computes, and where its K and V lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.kv.holes import BEYOND, HOLE, Drops


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens of one request that this step computes.

        0 ............ start ......... end          positions
        [ in the cache ][ computed now ]
        [ blocks[0] ][ blocks[1] ][ blocks[2] ..]   `blocks` covers at least `end` positions

    `logit_rows` is how many of the last tokens get logits: 0 in the middle of a prefill, 1 when a token is
    chosen next, `tokens` to see all. `prompt_tokens` is the length of the request's prompt, which only
    dynamic rope reads. `adapter` is the name of the one that its rows run with, "" for none. `dropped` says which
    blocks a KV policy took from which rows; those that all rows go without may be holes in `blocks`. Where there
    are `slots`, those are its positions' up to `end`, in place of what `blocks` says.
    """

    request: str
    start: int
    tokens: int
    blocks: Sequence[int]
    logit_rows: int = 1
    prompt_tokens: int = 0
    adapter: str = ""
    dropped: Drops = field(default_factory=dict)
    slots: Sequence[int] = ()

    @property
    def end(self) -> int:
        return self.start + self.tokens

    def first_read(self, window: int | None) -> int:
        """The first position that any token of the span may look at."""
        return 0 if window is None else max(0, self.start - window + 1)

    def used_blocks(self, block_size: int) -> Sequence[int]:
        """The part of the block table that holds positions up to `end`."""
        return self.blocks[: -(-self.end // block_size)]

    def blind_from(self, positions: Tensor, block_size: int) -> Tensor | None:
        """`[positions]`: the first position whose row does not read each; None where all are read."""
        if not self.dropped:
            return None
        of_block = torch.full((len(self.blocks),), BEYOND)
        of_block[torch.tensor([*self.dropped])] = torch.tensor([*self.dropped.values()])
        return of_block[positions // block_size]


def block_slots(tables: Sequence[Sequence[int]], block_size: int) -> Tensor:
    """All slots of some block tables of one length, in order of position: `[tables, blocks * block_size]`."""
    blocks = torch.tensor(tables, dtype=torch.int64)
    return torch.add(torch.arange(block_size), blocks[:, :, None], alpha=block_size).flatten(1)


def span_slots(span: Span, block_size: int) -> Tensor:
    """`[end]`: the slots of a span's positions from 0 on.

    Those of a hole are of the span's last block: no row reads them, and a slot must have an owner.
    """
    if span.slots:
        return torch.tensor(span.slots)
    return block_slots([_without_holes(span, block_size)], block_size)[0, : span.end]


def _without_holes(span: Span, block_size: int) -> Sequence[int]:
    blocks = span.used_blocks(block_size)
    return [blocks[-1] if block == HOLE else block for block in blocks] if span.dropped else blocks
