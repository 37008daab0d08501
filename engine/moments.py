"""The raw distribution of each row of logits, in a few numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Moments", "moments_of"]

Doubles = npt.NDArray[np.float64]

_NO_WEIGHT = 80.0  # so far below the largest, -inf included, that nothing is added: exp(-80) is 2e-35
_AT_ONCE = 1 << 15  # logits; their float64 copies stay in a core's cache


@dataclass(frozen=True, slots=True)
class Moments:
    """Of one row: the log-sum-exp, -sum p ln p, and the variance of -ln p under p."""

    lse: float
    entropy: float
    varentropy: float


def moments_of(scores: npt.NDArray[np.float32]) -> list[Moments]:
    """The moments of each row of `scores` [rows, vocab]; a row's do not depend on the others."""
    rows = max(1, _AT_ONCE // scores.shape[1])
    return [found for start in range(0, len(scores), rows) for found in _moments(scores[start : start + rows])]


def _moments(scores: npt.NDArray[np.float32]) -> Iterator[Moments]:
    """From the moments of d = logit - largest under p = exp(d) / mass, since ln p = d - ln mass."""
    top = scores.max(axis=1).astype(np.float64)
    d = scores.astype(np.float64)
    d -= top[:, None]
    np.maximum(d, -_NO_WEIGHT, out=d)
    weights = np.exp(d)
    mass = weights.sum(axis=1)
    weights *= d
    mean = weights.sum(axis=1) / mass
    square = np.einsum("rv,rv->r", weights, d) / mass
    log_mass = np.log(mass)
    columns = (top + log_mass, log_mass - mean, np.maximum(square - mean**2, 0.0))
    return map(Moments, *(column.tolist() for column in columns))
