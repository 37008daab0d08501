"""Events of speculative decoding: what was drafted, what became of it, and the blocks that were not needed."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from engine.events.base import Event
from engine.reasons import NoFreeBlocks, TokenBudgetSpent

VerdictName = Literal["accepted", "rejected", "unused"]
CutReason: TypeAlias = TokenBudgetSpent | NoFreeBlocks


class Spread(msgspec.Struct, frozen=True, array_like=True):
    """A distribution over few tokens: `ids`, and the probability of each, which sum to 1."""

    ids: tuple[int, ...]
    probs: tuple[float, ...]


class Drafted(Event, frozen=True):
    """Plugin `method` guesses `drafts` for `request` from `position` on; the first `used` of them are verified.

    `q[i]` is the probability with which draft i was drawn, from `spreads[i]`; no spreads: none was drawn, and
    every q is 1. `parents[i]` is the index of the draft that draft i follows, -1 the request's newest token; no
    parents: each follows the one before. `cut` is why not all are verified.
    """

    request: str
    position: int
    method: str
    drafts: tuple[int, ...]
    q: tuple[float, ...]
    spreads: tuple[Spread, ...]
    parents: tuple[int, ...]
    used: int
    cut: CutReason | None


class Verdict(msgspec.Struct, frozen=True):
    """What became of one draft `token`: `ratio` is `p / q`, and `draw` below it accepts.

    `p` is the target's probability of it: after all stages, as it would be drawn; for a greedy request, which
    takes the likeliest token and draws none, the softmax of the processed logits. Unused ones have `q` alone.
    """

    token: int
    q: float
    verdict: VerdictName
    p: float | None = None
    ratio: float | None = None
    draw: float | None = None


class Residual(msgspec.Struct, frozen=True):
    """What takes the place of a rejected token: `token`, drawn by `draw` from max(p - q, 0) divided by `mass`.

    `ids` and `probs` are its likeliest candidates. The interval [low, high) of the token holds the draw.
    """

    token: int
    draw: float
    low: float
    high: float
    mass: float
    ids: tuple[int, ...]
    probs: tuple[float, ...]


class Verified(Event, frozen=True):
    """The drafts of `request` from `position` on have been held against the target's own distribution.

    `residual` replaces the rejected one where tokens are drawn, `bonus` follows when none was rejected. A greedy
    request goes on with the target's own choice, in both cases a `token` as any other.
    """

    request: str
    position: int
    drafts: tuple[Verdict, ...]
    residual: Residual | None
    bonus: int | None


class GivenBack(Event, frozen=True):
    """`blocks`, from table index `index` of `request` on, hold rejected drafts only: they are free again."""

    request: str
    index: int
    blocks: tuple[int, ...]
