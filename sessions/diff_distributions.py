"""The raw distribution of one row, as far as it is known, and how far two of them lie apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

from engine.details import TokenDetails
from sessions.diff_result import Basis

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

    @cached_property
    def _logprobs(self) -> dict[int, float]:
        columns = self.details.candidates
        return {token: raw - self.details.raw_lse for token, raw in zip(columns.ids, columns.raw, strict=True)}


def divergence(a: Distribution, b: Distribution) -> float:
    """KL(a || b) in nats over the tokens known of both, all others taken together: a lower bound of the whole."""
    known = a.known() or b.known()
    assert known is not None, "two whole distributions are compared as a whole"
    total = mass_a = mass_b = 0.0
    for token in known:
        log_a, log_b = a.logprob(token), b.logprob(token)
        if log_a is None or log_b is None or math.isinf(log_a):
            continue
        weight = math.exp(log_a)
        total += weight * (log_a - log_b)
        mass_a, mass_b = mass_a + weight, mass_b + math.exp(log_b)
    rest_a, rest_b = max(0.0, 1 - mass_a), max(NO_MASS, 1 - mass_b)
    if rest_a > NO_MASS:
        total += rest_a * math.log(rest_a / rest_b)
    return max(0.0, total)
