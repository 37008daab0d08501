"""RequestText: the text of a request at one moment, each generated token shaded by what was recorded of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection
from itertools import accumulate
from typing import NamedTuple, Self

from engine.kv.holes import BEYOND, NO_DROPS, Drops
from sessions.records import TokenRow
from workbench.bench import Scene
from workbench.record import Record

ROWS_AT_ONCE = 128
FULL_ENTROPY = 4.0
FULL_RANK = 100


class Shading(NamedTuple):
    """A way to shade tokens: what it shows, its legend, and the strength for one token."""

    name: str
    legend: str
    strength: Callable[[TokenRow], float | None]


def _improbable(row: TokenRow) -> float | None:
    return None if row.raw_logprob is None else 1.0 - math.exp(row.raw_logprob)


def _uncertain(row: TokenRow) -> float | None:
    return None if row.entropy is None else row.entropy / FULL_ENTROPY


def _far_down(row: TokenRow) -> float | None:
    return None if row.rank is None else math.log(row.rank) / math.log(FULL_RANK)


SHADINGS: tuple[Shading, ...] = (
    Shading("probability", "the less likely, the stronger", _improbable),
    Shading("entropy", f"strongest from {FULL_ENTROPY:g} nats on", _uncertain),
    Shading("rank", f"none at rank 1, strongest from {FULL_RANK} on", _far_down),
)


class RequestText:
    """Tokens by position, read a chunk at a time as they come on the screen."""

    def __init__(
        self,
        record: Record,
        request: str,
        count: int,
        prompt_len: int,
        cached_len: int,
        new: Collection[int] = (),
        shading: Shading = SHADINGS[0],
        dropped: Drops = NO_DROPS,
        block_size: int = 1,
    ) -> None:
        """`dropped` says which blocks, of `block_size` tokens, the request went on without, and from where on."""
        self._dropped = dropped
        self._block_size = block_size
        self._record = record
        self._ids = record.token_ids(request)
        self._count = min(count, len(self._ids))
        self._new = new
        self._shading = shading
        self._chunks: dict[int, dict[int, TokenRow]] = {}
        self.request = request
        self.prompt_len = prompt_len
        self.cached_len = cached_len
        self.key: object = request

    @classmethod
    def at(cls, scene: Scene, request: str, shading: Shading = SHADINGS[0]) -> Self:
        """The text of a request that has arrived, as it was at the scene's moment."""
        row = scene.record.request(request)
        assert row is not None
        admitted = row.admitted_step is not None and row.admitted_step <= scene.moment.step
        cached = row.cached_tokens if admitted else 0  # by its first admission; a later one finds its own
        new = scene.moment.changes.new_tokens.get(request, ())
        count = scene.moment.token_count(request)
        live = scene.moment.live_request(request)
        dropped, size = live.dropped if live else NO_DROPS, scene.moment.state.blocks.block_size
        return cls(scene.record, request, count, row.prompt_tokens, cached, new, shading, dropped, size)

    def __len__(self) -> int:
        return self._count

    def text(self, index: int) -> str:
        return self._record.token_text(self._ids[index])

    def shade(self, index: int) -> float | None:
        row = self.row(index)
        return None if row is None else self._shading.strength(row)

    def changed(self, index: int) -> bool:
        return index in self._new

    def dropped(self, index: int) -> bool:
        """Whether a KV policy has taken its block, so that no later row reads it."""
        return index // self._block_size in self._dropped

    def unread_by(self, row: int, index: int) -> bool:
        """Whether its block was dropped before that row."""
        return self._dropped.get(index // self._block_size, BEYOND) <= row

    @property
    def dropped_len(self) -> int:
        return len(self._dropped) * self._block_size

    def row(self, index: int) -> TokenRow | None:
        """What was recorded of a generated token; None for a prompt token."""
        if index < self.prompt_len:
            return None
        chunk = index // ROWS_AT_ONCE
        if chunk not in self._chunks:
            rows = self._record.token_rows(self.request, chunk * ROWS_AT_ONCE, (chunk + 1) * ROWS_AT_ONCE)
            self._chunks[chunk] = {row.position: row for row in rows}
        return self._chunks[chunk].get(index)

    def find(self, wanted: str, start: int, direction: int) -> int | None:
        """The next token (1) or the one before (-1) where `wanted` begins, round the end; it may span tokens."""
        texts = [self.text(index) for index in range(len(self))]
        offsets = list(accumulate(map(len, texts), initial=0))
        whole = "".join(texts)
        here = offsets[min(start, len(texts))]
        if direction > 0:
            at = whole.find(wanted, offsets[min(start + 1, len(texts))])
            at = at if at >= 0 else whole.find(wanted)
        else:
            at = whole.rfind(wanted, 0, max(0, here + len(wanted) - 1))
            at = at if at >= 0 else whole.rfind(wanted)
        return None if at < 0 else bisect_right(offsets, at) - 1


__all__ = ["SHADINGS", "RequestText", "Shading"]
