"""What a comparison of two runs comes to: the JSON of `diff`, and what the Compare view shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from engine.divergence_result import Divergence, FirstStage

Basis = Literal["captured", "recomputed", "top 20"]
"""What a distribution is known from: whole logits of the run, whole logits worked out again, or the record's
likeliest candidates, with all others taken together."""


class FirstToken(msgspec.Struct, frozen=True):
    """The first position where a pair's tokens differ.

    `a` and `b` are token ids, None where a request has ended. `margin_*` is how far the two largest processed
    logits lay apart there, None where the run recorded none; `near_tie` that one of the runs said that rounding
    could have turned its choice. `prompt` that the position belongs to a prompt: nothing was chosen.
    """

    request: str
    request_b: str
    position: int
    a: int | None
    b: int | None
    text_a: str
    text_b: str
    margin_a: float | None
    margin_b: float | None
    near_tie: bool
    prompt: bool = False


class PositionDifference(msgspec.Struct, frozen=True):
    """One position that both runs chose from the same tokens before it.

    `kl` is the divergence of B's raw distribution from A's, in nats; on the basis of the top 20 a lower bound.
    `rank_a` and `rank_b` are the ranks of A's token in both, None where it is not among those recorded.
    `same_logits` that the logits of both are equal to the bit.
    """

    position: int
    kl: float | None
    basis: Basis
    same_top: bool
    rank_a: int | None
    rank_b: int | None
    same_logits: bool


class PairDifference(msgspec.Struct, frozen=True):
    """Two requests that should agree; `positions` are the chosen ones, up to the first that differs."""

    a: str
    b: str
    first: FirstToken | None
    positions: Sequence[PositionDifference]

    @property
    def largest_kl(self) -> PositionDifference | None:
        known = [each for each in self.positions if each.kl is not None]
        return max(known, key=lambda each: each.kl or 0.0, default=None)


class Rebuilding(msgspec.Struct, frozen=True):
    """How a run's row was computed again: over how many of its steps, and how close to its record.

    `worst` is the largest difference from the recorded logits (the candidates'), 0 where their hashes are
    equal, None where nothing was recorded to compare with.
    """

    steps: int
    tokens: int
    worst: float | None


class Rerun(msgspec.Struct, frozen=True):
    """A whole run computed again for its logits: of `positions` choices `equal` to the bit with the record,
    and the largest difference from it."""

    positions: int
    equal: int
    worst: float


class StageSearch(msgspec.Struct, frozen=True):
    """The search for the first differing stage, or why there was none."""

    request: str
    request_b: str
    divergence: Divergence | None = None
    a: Rebuilding | None = None
    b: Rebuilding | None = None
    why_not: str = ""


class DiffResult(msgspec.Struct, frozen=True):
    """Two sessions compared. `b` is a session's path, or the name of the reference."""

    identical: bool
    first_token: FirstToken | None
    first_stage: FirstStage | None
    a: str
    b: str
    pairs: Sequence[PairDifference]
    only_a: Sequence[str]
    only_b: Sequence[str]
    search: StageSearch | None
    reruns: tuple[Rerun, Rerun] | None = None
