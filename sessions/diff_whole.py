"""Distributions of which all logits are known: captured in the run, or worked out again. Imports numpy."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from sessions.diff_result import Basis

Doubles = npt.NDArray[np.float64]


class Whole:
    """The raw logits of one row, `[vocab]`."""

    def __init__(self, logits: bytes | npt.NDArray[np.float32], basis: Basis) -> None:
        found = np.frombuffer(logits, "<f4") if isinstance(logits, bytes) else logits
        self.logits = found.astype(np.float64)
        self.basis: Basis = basis

    @cached_property
    def logprobs(self) -> Doubles:
        """`[vocab]`, natural."""
        top = self.logits.max()
        found: Doubles = self.logits - top - np.log(np.exp(self.logits - top).sum())
        return found

    @property
    def top(self) -> int:
        return int(self.logits.argmax())

    @property
    def margin(self) -> float:
        """How far the two largest logits lie apart."""
        second, first = np.partition(self.logits, -2)[-2:]
        return float(first - second)

    def known(self) -> None:
        return None

    def logprob(self, token: int) -> float | None:
        return float(self.logprobs[token]) if 0 <= token < len(self.logits) else None

    def rank(self, token: int) -> int | None:
        if not 0 <= token < len(self.logits):
            return None
        own = self.logits[token]
        before = int((self.logits > own).sum()) + int((self.logits[:token] == own).sum())
        return before + 1


def whole_divergence(a: Whole, b: Whole) -> float:
    """KL(a || b) in nats over the whole vocabulary."""
    weights = np.exp(a.logprobs)
    apart = np.where(weights > 0, a.logprobs - b.logprobs, 0.0)
    return max(0.0, float((weights * apart).sum()))
