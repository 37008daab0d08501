"""The row of logits that a beam continues from, and the details of the tokens it was continued by. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engine.details import TokenDetails
from engine.execution import DetailsOf, Processing
from engine.explain import explain
from engine.ranking import Row
from engine.sampling import Choices, SamplerRow, transform


@dataclass(frozen=True, slots=True, eq=False)
class BeamRow:
    """A beam's `raw` logits [vocab] and its log-probabilities after the stages, [vocab]."""

    raw: Row
    row: SamplerRow
    processing: Processing
    logprobs: Row

    @staticmethod
    def of(raw: Row, row: SamplerRow, processing: Processing) -> BeamRow:
        """Raises SamplingError where there is no token to choose."""
        return BeamRow(raw, row, processing, transform(raw, row)[-1][1])

    def logprob_of(self, token: int) -> float:
        """The log-probability of one token."""
        return float(self.logprobs[token])

    def best(self, count: int) -> list[tuple[int, float]]:
        """The `count` likeliest tokens with their log-probabilities, best first, ties by token id."""
        values = self.logprobs
        if count < len(values):
            (ids,) = np.nonzero(values >= np.partition(values, -count)[-count])
        else:
            ids = np.arange(len(values))
        ids = ids[np.argsort(-values[ids], kind="stable")][:count]
        return [(int(token), float(values[token])) for token in ids if values[token] > -np.inf]


@dataclass(frozen=True, slots=True)
class Continuation:
    """`token` continued the beam of `row` as `request`; `gap` says how near two candidates of the step were."""

    request: str
    row: BeamRow
    token: int
    gap: float


@dataclass(frozen=True, slots=True)
class BeamDetails:
    """The details of a step in which beams went on: of its other tokens, `before`, then of theirs."""

    before: DetailsOf
    made: Sequence[Continuation]

    @property
    def logits(self) -> npt.NDArray[np.float32] | None:
        """[tokens, vocab]"""
        own = np.stack([each.row.raw for each in self.made]).astype(np.float32, copy=False)
        others = self.before.logits
        return own if others is None else np.concatenate([others, own])

    def __call__(self) -> Sequence[TokenDetails]:
        rows = [replace(each.row.row, request_id=each.request, gap=each.gap) for each in self.made]
        own = explain_beams(
            np.stack([each.row.raw for each in self.made]), rows, [each.token for each in self.made]
        )
        return [*self.before(), *own]


def explain_beams(
    logits: npt.NDArray[np.float32], rows: Sequence[SamplerRow], tokens: Sequence[int]
) -> list[TokenDetails]:
    """The details of `tokens`, which a search took from `logits` [tokens, vocab]."""
    nothing = [None] * len(tokens)
    return explain(logits, rows, Choices(list(tokens), list(nothing), list(nothing)))
