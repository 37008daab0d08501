"""Choosing tokens: each row of logits through the stages its request switched on, then one draw.

This is the engine's critical path, so it only chooses; `engine.explain` says afterwards what happened.
All work is per row and in numpy: a token does not depend on who shares the batch, nothing here competes
with the forward pass for torch's threads, and stored logits can be worked again without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.changed_logits import Processed
from engine.details import Stage
from engine.draws import uniform
from engine.history import SeenTokens
from engine.params import SamplingParams
from engine.ranking import Ranking, Row
from engine.stages import Cut, active_transforms, filtered, transformed

__all__ = [
    "Choices", "Logits", "SamplerRow", "SamplingError", "Trail", "as_logits", "check_row", "choose", "draw_from",
    "transform",
]  # fmt: skip

Logits = npt.ArrayLike
"""float32 [rows, vocab]: a numpy array or a torch tensor in main memory, read in place."""


class SamplingError(ValueError):
    """Logits no token can be chosen from; `request_id` says whose."""

    def __init__(self, row: SamplerRow, problem: str) -> None:
        super().__init__(f"request {row.request_id}, position {row.position}: {problem}")
        self.request_id = row.request_id


@dataclass(frozen=True, slots=True)
class SamplerRow:
    """Whose token a row of logits chooses, and how.

    `position` is the place, in prompt + output, of the token to be chosen; `seen` is needed where a
    penalty is on. `processed` is what logits processors changed, before all stages. `gap` is of a beam: how near
    two candidates of its search were to each other, which decides as the two largest logits do elsewhere.
    """

    request_id: str
    params: SamplingParams
    seed: int
    sample_index: int
    position: int
    seen: SeenTokens | None = None
    processed: tuple[Processed, ...] = ()
    gap: float | None = None

    @property
    def transforms(self) -> bool:
        """Whether any stage changes its logits."""
        return bool(self.processed) or self.params.beams > 1 or bool(active_transforms(self.params))


@dataclass(frozen=True, slots=True, eq=False)
class Trail:
    """What choosing left behind of a sampled row, for whoever explains it.

    Where a draft was judged (`drafted`), `interval` is not the token's on the cumulative distribution.
    """

    transforms: tuple[tuple[Stage, Row], ...]
    ranking: Ranking
    cuts: tuple[Cut, ...]
    place: int
    interval: tuple[float, float]
    drafted: bool = False

    @property
    def kept(self) -> int | None:
        """How many candidates the filters left; None if no filter ran."""
        return self.cuts[-1].kept if self.cuts else None


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """One entry per row: the token, the draw that chose it (None: greedy), and the trail of a draw."""

    tokens: list[int]
    draws: list[float | None]
    trails: list[Trail | None]


def choose(logits: Logits, rows: Sequence[SamplerRow]) -> Choices:
    """Choose a token for each row of `logits` [rows, vocab].

    Greedy takes the largest processed logit, the lowest id on ties. Otherwise a draw is looked up in the
    cumulative distribution of the kept candidates, in order of descending processed logit, ties by id.

    Raises SamplingError for a row with NaN or +inf, and for one whose candidates are all -inf.
    """
    scores = as_logits(logits)
    assert len(scores) == len(rows), "one row of logits for each sampler row"
    tokens: list[int] = scores.argmax(axis=1).tolist()
    choices = Choices(tokens, [None] * len(rows), [None] * len(rows))
    for i, row in enumerate(rows):
        raw = scores[i]
        _check(raw, tokens[i], row)
        if not row.params.greedy:
            _sample(choices, i, raw, row)
        elif row.transforms:
            tokens[i] = _greedy(raw, row)
    return choices


def as_logits(logits: Logits) -> npt.NDArray[np.float32]:
    """The logits as a numpy array [rows, vocab], without a copy where they are float32 already."""
    scores = np.ascontiguousarray(logits, dtype=np.float32)
    assert scores.ndim == 2, "logits are [rows, vocab]"
    return scores


def _sample(choices: Choices, i: int, raw: Row, row: SamplerRow) -> None:
    trail, draw = draw_from(raw, row)
    choices.tokens[i] = int(trail.ranking.ids[trail.place])
    choices.draws[i] = draw
    choices.trails[i] = trail


def draw_from(raw: Row, row: SamplerRow) -> tuple[Trail, float]:
    """Draw a token from the logits [vocab] of a row, which are checked: its trail, and the draw."""
    transforms = transform(raw, row)
    ranking = Ranking(transforms[-1][1] if transforms else raw)
    cuts = tuple(filtered(ranking, row.params))
    draw = uniform(row.seed, row.sample_index, row.position, "sample")
    place, low, high = ranking.locate(draw, cuts[-1].kept if cuts else None)
    return Trail(transforms, ranking, cuts, place, (low, high)), draw


def _greedy(raw: Row, row: SamplerRow) -> int:
    return int(transform(raw, row)[-1][1].argmax())


def transform(raw: Row, row: SamplerRow) -> tuple[tuple[Stage, Row], ...]:
    """The logits [vocab] after each transform of the row's request. Raises SamplingError on overflow."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        steps = tuple(transformed(raw, row.params, row.seen, row.processed))
    if steps:
        _check(steps[-1][1], int(steps[-1][1].argmax()), row)
    return steps


def check_row(raw: Row, row: SamplerRow) -> None:
    """Raise SamplingError for logits [vocab] that no token can be chosen from."""
    _check(raw, int(raw.argmax()), row)


def _check(scores: Row, best: int, row: SamplerRow) -> None:
    """`best` is numpy's argmax, which stops at a NaN: looking at that one value vouches for the row."""
    value = scores[best]
    if not np.isfinite(value):
        raise SamplingError(row, _problem(float(value), best))


def _problem(value: float, token: int) -> str:
    if value == -np.inf:
        return "every logit is -inf, so there is no token to choose"
    return f"the logit of token {token} is {value}, so no token can be chosen"
