"""Drawing a draft: the drafter's logits through the request's own stages, cut to the likeliest few."""

from __future__ import annotations

from typing import Final, NamedTuple

from engine.draws import uniform
from engine.events import Spread
from engine.ranking import Ranking, Row
from engine.sampling import SamplerRow, transform
from engine.stages import filtered

MOST_CANDIDATES: Final = 20
"""A draft is drawn from so many candidates at most, so that all of its distribution can be recorded."""


class Drawn(NamedTuple):
    """A drafted token, and what it was drawn from; None for a greedy request."""

    token: int
    spread: Spread | None


def draw(raw: Row, row: SamplerRow) -> Drawn:
    """Draft the token of `row` from the drafter's logits [vocab]; a greedy request gets the likeliest."""
    transforms = transform(raw, row)
    scores = transforms[-1][1] if transforms else raw
    if row.params.greedy:
        return Drawn(int(scores.argmax()), None)
    spread = spread_of(scores, row)
    return Drawn(pick(spread, uniform(row.seed, row.sample_index, row.position, "draft")), spread)


def spread_of(scores: Row, row: SamplerRow) -> Spread:
    """The likeliest candidates that the request's filters leave of `scores` [vocab], and their probabilities."""
    ranking = Ranking(scores)
    cuts = tuple(filtered(ranking, row.params))
    count = min(MOST_CANDIDATES, cuts[-1].kept if cuts else len(ranking.ids), len(ranking.ids))
    probs = ranking.weights[:count] / ranking.weights[:count].sum()
    kept = int((probs > 0).sum())
    return Spread(tuple(ranking.ids[:kept].tolist()), tuple(probs[:kept].tolist()))


def pick(spread: Spread, point: float) -> int:
    """The token whose interval of the cumulative distribution holds `point`, in the order of the spread."""
    reached = 0.0
    for token, prob in zip(spread.ids, spread.probs, strict=True):
        reached += prob
        if point < reached:
            return token
    return spread.ids[-1]
