"""Holding drafts against the target's distribution: which are accepted, and what replaces a rejected one.

Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding", algorithm 1, over the
distribution after the whole sampler; for several drafts of one position Miao et al. 2024, "SpecInfer",
algorithm 2: siblings are tried in order, and each rejection leaves norm(max(p - q, 0)) to those that follow.
A chain is a tree without siblings. What is chosen is distributed as if the target had been sampled alone,
whatever the drafts are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.drafting import Draft
from engine.draws import uniform
from engine.events import Residual, Spread, Verdict, VerdictName
from engine.ranking import Ranking, Row
from engine.sampling import SamplerRow, Trail, check_row, draw_from, transform
from engine.stages import filtered

Probs = npt.NDArray[np.float64]

NEWEST = -1
"""Stands for the request's newest token where a draft could: what the first drafts follow."""
SHOWN_CANDIDATES = 8

RawAt = Callable[[int, int], Row | None]
"""The logits [vocab] of the row of a draft (NEWEST: the first row), reached as the n-th; None: that is all."""
RowAt = Callable[[Row, Sequence[int]], SamplerRow]
"""Whose row that is, when the tokens given have been accepted."""


@dataclass(slots=True, eq=False)
class Checked:
    """Drafts that were held against the target: the `tokens` they led to, and how each was chosen.

    All but the last of `tokens` are accepted drafts, and so is the last where the rows ended with it.
    """

    verdicts: list[Verdict]
    tokens: list[int] = field(default_factory=list)
    draws: list[float | None] = field(default_factory=list)
    trails: list[Trail | None] = field(default_factory=list)
    rows: list[SamplerRow] = field(default_factory=list)
    path: list[int] = field(default_factory=list)
    """The drafts that were accepted, by index."""
    residual: Residual | None = None
    bonus: int | None = None

    def first(self, count: int) -> tuple[tuple[Verdict, ...], Residual | None, int | None]:
        """Verdicts, residual and bonus, when the output ends after `count` of the tokens."""
        if count == len(self.tokens):
            return tuple(self.verdicts), self.residual, self.bonus
        known = self.path[:count]
        before = max(known) + 1
        verdicts = (each if at < before else _unused(each.token, each.q) for at, each in enumerate(self.verdicts))
        return tuple(verdicts), None, None


def verify(draft: Draft, raw_at: RawAt, row_at: RowAt) -> Checked:
    """Follow the drafts that the target accepts, and choose what comes after them.

    Raises SamplingError for a row that no token can be chosen from.
    """
    checked = Checked([_unused(token, q) for token, q in zip(draft.tokens, draft.q, strict=True)])
    node: int | None = NEWEST
    while node is not None and (raw := raw_at(node, len(checked.tokens))) is not None:
        row = row_at(raw, checked.tokens)
        check_row(raw, row)
        children = draft.children(node)
        if row.params.greedy:
            node = _greedy(checked, draft, children, raw, row)
        else:
            node = _sampled(checked, draft, children, raw, row)
    return checked


def _greedy(checked: Checked, draft: Draft, children: Sequence[int], raw: Row, row: SamplerRow) -> int | None:
    """The target's likeliest token is taken; the draft that it is, if any."""
    scores = transform(raw, row)[-1][1] if row.transforms else raw
    best = int(scores.argmax())
    _take(checked, row, best, None, None)
    probs = _softmax(scores) if children else scores
    for child in children:
        token = draft.tokens[child]
        _judge(checked, child, float(probs[token]), None, token == best)
        if token == best:
            checked.path.append(child)
            return child
    if not children:
        checked.bonus = best
    return None


def _sampled(checked: Checked, draft: Draft, children: Sequence[int], raw: Row, row: SamplerRow) -> int | None:
    """Each draft in turn is accepted with probability min(1, p / q); what is left of p replaces the last."""
    if not children:
        trail, draw = draw_from(raw, row)
        checked.bonus = int(trail.ranking.ids[trail.place])
        _take(checked, row, checked.bonus, draw, trail)
        return None
    target = Target.of(raw, row)
    probs, left, mass = target.probs(), 1.0, 1.0
    for turn, child in enumerate(children):
        token, p = draft.tokens[child], float(probs[draft.tokens[child]])
        draw = uniform(row.seed, row.sample_index, row.position, "accept", turn)
        accepted = draw * draft.q[child] < p
        _judge(checked, child, p, draw, accepted)
        if accepted:
            checked.path.append(child)
            _take(checked, row, token, draw, target.trail(token, (0.0, min(1.0, p / draft.q[child]))))
            return child
        probs, mass = without(probs, _spread(draft, child))
        left *= mass
    _resample(checked, target, probs, left, row)
    return None


def _resample(checked: Checked, target: Target, probs: Probs, mass: float, row: SamplerRow) -> None:
    """Draw from what the rejected drafts left of the target's distribution, in order of token id."""
    draw = uniform(row.seed, row.sample_index, row.position, "residual")
    token, low, high = locate(probs, draw)
    most = min(SHOWN_CANDIDATES, len(probs))
    shown = np.argpartition(-probs, most - 1)[:most]
    shown = shown[np.lexsort((shown, -probs[shown]))]
    shown = shown[probs[shown] > 0]
    ids, values = tuple(shown.tolist()), tuple(probs[shown].tolist())
    checked.residual = Residual(token, draw, low, high, mass, ids, values)
    _take(checked, row, token, draw, target.trail(token, (low, high)))


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The distribution that a token is chosen from: the target's, after all stages of the sampler."""

    made: Trail

    @staticmethod
    def of(raw: Row, row: SamplerRow) -> Target:
        """Put the checked logits [vocab] of a row through its stages."""
        transforms = transform(raw, row)
        ranking = Ranking(transforms[-1][1] if transforms else raw)
        cuts = tuple(filtered(ranking, row.params))
        return Target(Trail(transforms, ranking, cuts, 0, (0.0, 1.0)))

    def probs(self) -> Probs:
        """Of every token of the vocabulary: 0 for those that a filter removed."""
        ranking, kept = self.made.ranking, self.made.kept
        if kept is None:
            return np.exp(ranking.values.astype(np.float64) - ranking.top) / ranking.mass()
        probs = np.zeros(len(ranking.values))
        probs[ranking.ids[:kept]] = ranking.weights[:kept] / ranking.mass(kept)
        return probs

    def trail(self, token: int, interval: tuple[float, float]) -> Trail:
        """How `token` was chosen, for whoever explains it."""
        made = self.made
        made.ranking.down_to(float(made.ranking.values[token]))
        place = int((made.ranking.ids == token).argmax())
        return Trail(made.transforms, made.ranking, made.cuts, place, interval, drafted=True)


def without(probs: Probs, spread: Spread) -> tuple[Probs, float]:
    """norm(max(p - q, 0)), and the mass that this was divided by: the share of p that q does not cover.

    Where rounding leaves nothing p and q were the same, and nothing is ever rejected but by rounding: p stays.
    """
    left = probs.copy()
    ids = list(spread.ids)
    left[ids] = np.maximum(left[ids] - np.array(spread.probs), 0.0)
    mass = float(left.sum())
    return (left / mass, mass) if mass > 0 else (probs, 1.0)


def locate(probs: Probs, point: float) -> tuple[int, float, float]:
    """The token whose interval of the cumulative distribution, by id, holds `point`; and that interval."""
    cumulative = probs.cumsum()
    total = float(cumulative[-1])
    last = int(probs.nonzero()[0][-1])
    token = min(int(cumulative.searchsorted(point * total, side="right")), last)
    low = float(cumulative[token - 1]) / total if token else 0.0
    return token, low, 1.0 if token == last else float(cumulative[token]) / total


def _spread(draft: Draft, child: int) -> Spread:
    """What a draft was drawn from: one that was not drawn has all the probability."""
    return draft.spreads[child] if draft.spreads else Spread((draft.tokens[child],), (1.0,))


def _softmax(scores: Row) -> Probs:
    weights = np.exp(scores.astype(np.float64) - float(scores.max()))
    return np.asarray(weights / weights.sum())


def _take(checked: Checked, row: SamplerRow, token: int, draw: float | None, trail: Trail | None) -> None:
    checked.rows.append(row)
    checked.tokens.append(token)
    checked.draws.append(draw)
    checked.trails.append(trail)


def _judge(checked: Checked, child: int, p: float, draw: float | None, accepted: bool) -> None:
    before = checked.verdicts[child]
    name: VerdictName = "accepted" if accepted else "rejected"
    checked.verdicts[child] = Verdict(before.token, before.q, name, p, p / before.q, draw)


def _unused(token: int, q: float) -> Verdict:
    return Verdict(token, q, "unused")
