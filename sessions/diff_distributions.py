"""The raw distribution of one row, as far as it is known, and how far two of them lie apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

from engine.details import MAX_CANDIDATES, TokenDetails
from sessions.diff_result import Basis

ROUNDS: Final = 40
NO_MASS: Final = 1e-9
"""Less probability than this is what the float32 of the record leaves of nothing."""


class Distribution(Protocol):
    """Log-probabilities (natural) of one row's raw logits."""

    @property
    def basis(self) -> Basis:
        """Where it is known from."""
        ...

    @property
    def top(self) -> int:
        """The likeliest token; of equals the one with the smaller id."""
        ...

    def known(self) -> Mapping[int, float] | None:
        """The tokens whose log-probability is known; None when all of them are."""
        ...

    def logprob(self, token: int) -> float | None:
        """The log-probability of a token, None where it is not known."""
        ...

    def rank(self, token: int) -> int | None:
        """The rank of a token, from 1; None where it is not known."""
        ...


@dataclass(frozen=True)
class Recorded:
    """What the session keeps of every token: its likeliest candidates, and the log-sum-exp of all."""

    details: TokenDetails
    basis: Basis = "top 20"

    @property
    def top(self) -> int:
        return self.details.candidates.ids[0]

    def known(self) -> Mapping[int, float]:
        return self._logprobs

    def logprob(self, token: int) -> float | None:
        return self._logprobs.get(token)

    def rank(self, token: int) -> int | None:
        if token == self.details.token:
            return self.details.rank
        found = self.details.candidates.ids
        place = found.index(token) if token in self._logprobs else None
        return None if place is None else place + 1

    @property
    def most_unlisted(self) -> float:
        """No token that is not listed is likelier than this."""
        columns = self.details.candidates
        if len(columns) < MAX_CANDIDATES:
            return 0.0
        return math.exp(columns.raw[MAX_CANDIDATES - 1] - self.details.raw_lse)

    @cached_property
    def _logprobs(self) -> dict[int, float]:
        columns = self.details.candidates
        return {token: raw - self.details.raw_lse for token, raw in zip(columns.ids, columns.raw, strict=True)}


def divergence(a: Distribution, b: Distribution) -> float:
    """A lower bound of KL(a || b) in nats, from the tokens known of both, and what is listed of one only.

    Merging outcomes never adds divergence: tokens that one side does not list are merged into one outcome, and
    its probability there, unknown but bounded, is taken to be what makes the divergence least.
    """
    known_a, known_b = a.known(), b.known()
    both = known_b if known_a is None else known_a if known_b is None else known_a.keys() & known_b.keys()
    assert both is not None, "two whole distributions are compared as a whole"
    total = mass_a = mass_b = 0.0
    for token in both:
        log_a, log_b = a.logprob(token), b.logprob(token)
        assert log_a is not None
        assert log_b is not None
        if not math.isinf(log_a):
            total += math.exp(log_a) * (log_a - log_b)
        mass_a, mass_b = mass_a + math.exp(log_a), mass_b + math.exp(log_b)
    rest = _Rest(1 - mass_a, 1 - mass_b)
    if isinstance(a, Recorded) and isinstance(b, Recorded):
        rest = _Rest(1 - mass_a, 1 - mass_b, *_listed_alone(a, b), *_listed_alone(b, a))
    return max(0.0, total + rest.divergence())


def _listed_alone(a: Recorded, b: Recorded) -> tuple[float, float]:
    """The probability in A of tokens that only A lists, and the most they can have in B."""
    alone = a.known().keys() - b.known().keys()
    return sum(math.exp(a.known()[token]) for token in alone), len(alone) * b.most_unlisted


@dataclass(frozen=True, slots=True)
class _Rest:
    """What is left of both distributions beside the tokens known of both.

    Of `a`, `only_a` belongs to tokens that only A lists; they have at most `cap_b` of `b`. And the other way.
    """

    a: float
    b: float
    only_a: float = 0.0
    cap_b: float = 0.0
    only_b: float = 0.0
    cap_a: float = 0.0

    def divergence(self) -> float:
        """The least that three outcomes add: listed by A alone, by B alone, by neither."""
        neither_a, neither_b = max(0.0, self.a - self.only_a), max(0.0, self.b - self.only_b)
        in_b = in_a = 0.0
        for _ in range(ROUNDS):  # both unknown shares in turn: the sum is convex in them
            in_b = min(self.cap_b, _share(neither_b, self.only_a, neither_a - in_a))
            in_a = min(self.cap_a, _share(neither_a, self.only_b, neither_b - in_b))
        outcomes = ((self.only_a, in_b), (in_a, self.only_b), (neither_a - in_a, neither_b - in_b))
        return sum(p * math.log(p / max(q, NO_MASS)) for p, q in outcomes if p > NO_MASS)


def _share(whole: float, one: float, other: float) -> float:
    """`whole` divided as `one` is to `other`: what the first gets."""
    return whole * one / (one + other) if one + other > 0 else 0.0
