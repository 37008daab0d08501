"""What happened when a token was chosen, worked out after the fact from the same logits and choices.

Nothing here is on the step's critical path, and nothing it reads changes once a choice is made, so it may
run in another thread while the next step does.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import xxhash

from engine.details import MAX_CANDIDATES, STAGES, Candidates, Stage, StageResult, TokenDetails
from engine.near_tie import greedy_near_tie, sampled_near_tie
from engine.params import SamplingParams
from engine.ranking import Ranking, Row
from engine.sampling import Choices, Logits, SamplerRow, Trail, as_logits, choose, transform
from engine.stages import Cut

__all__ = ["explain", "rework"]

Rows = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_FAR_BELOW = -1e4  # a log probability whose exp is 0, and which can be multiplied by it


def explain(logits: Logits, rows: Sequence[SamplerRow], choices: Choices) -> list[TokenDetails]:
    """The details of each choice that `choose(logits, rows)` made; `logits` [rows, vocab] as they were."""
    scores = as_logits(logits)
    raw = _describe(scores)
    return [_explain_row(scores[i], raw, i, row, choices) for i, row in enumerate(rows)]


def rework(logits_row: Logits, row: SamplerRow, params: SamplingParams) -> TokenDetails:
    """What other settings would have chosen from the same logits [vocab] with the same draw."""
    logits = as_logits(np.asarray(logits_row)[None])
    rows = [replace(row, params=params)]
    return explain(logits, rows, choose(logits, rows))[0]


@dataclass(frozen=True, slots=True, eq=False)
class _Raw:
    """The raw distribution of each row: log-sum-exp, entropy, varentropy, candidates above -inf."""

    lse: list[float]
    entropy: list[float]
    varentropy: list[float]
    finite: list[int]


def _describe(scores: Rows) -> _Raw:
    """Entropy is -sum p ln p; varentropy the variance of -ln p under p."""
    top = scores.max(axis=1, keepdims=True)
    log_p = np.subtract(scores, top, dtype=np.float64)
    p = np.exp(log_p)
    mass = p.sum(axis=1, keepdims=True)
    log_mass = np.log(mass)
    p /= mass
    log_p -= log_mass
    np.maximum(log_p, _FAR_BELOW, out=log_p)
    surprise = p * log_p
    entropy = -surprise.sum(axis=1)
    second_moment = np.einsum("rv,rv->r", surprise, log_p)
    return _Raw(
        lse=(top + log_mass)[:, 0].tolist(),
        entropy=entropy.tolist(),
        varentropy=np.maximum(second_moment - entropy**2, 0.0).tolist(),
        finite=np.count_nonzero(scores > -np.inf, axis=1).tolist(),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Processed:
    """The distribution the token was chosen from."""

    transforms: tuple[tuple[Stage, Row], ...]
    ranking: Ranking
    cuts: tuple[Cut, ...]
    mass: float

    @property
    def lse(self) -> float:
        return self.ranking.top + math.log(self.mass)


def _explain_row(raw: Row, described: _Raw, i: int, row: SamplerRow, choices: Choices) -> TokenDetails:
    token, draw, trail = choices.tokens[i], choices.draws[i], choices.trails[i]
    order = trail.ranking if trail and not trail.transforms else Ranking(raw)
    processed = _from_trail(trail) if trail else _greedy(raw, order, described.lse[i], row)
    ids, rank = _shown(raw, order, token)
    margin = _margin(processed.ranking)
    return TokenDetails(
        request=row.request_id,
        position=row.position,
        token=token,
        rank=rank,
        raw_lse=described.lse[i],
        raw_logprob=float(raw[token]) - described.lse[i],
        processed_lse=processed.lse,
        processed_logprob=float(processed.ranking.values[token]) - processed.lse,
        entropy=described.entropy[i],
        varentropy=described.varentropy[i],
        margin=margin,
        draw=draw,
        interval=trail.interval if trail else None,
        near_tie=_near_tie(trail, draw, margin),
        logits_hash=xxhash.xxh3_64_intdigest(raw.data),
        stages=_stage_results(processed, row.params, described.finite[i]),
        candidates=_candidates(raw, ids, processed),
    )


def _from_trail(trail: Trail) -> _Processed:
    return _Processed(trail.transforms, trail.ranking, trail.cuts, trail.ranking.mass(trail.kept))


def _greedy(raw: Row, order: Ranking, raw_lse: float, row: SamplerRow) -> _Processed:
    transforms = transform(raw, row)
    if not transforms:
        return _Processed((), order, (), math.exp(raw_lse - order.top))
    ranking = Ranking(transforms[-1][1])
    return _Processed(transforms, ranking, (), ranking.mass())


def _shown(raw: Row, order: Ranking, token: int) -> tuple[Ids, int]:
    """The ids of the candidates to keep, and the rank of the chosen token among all."""
    ids = order.ids[:MAX_CANDIDATES]
    places = (ids == token).nonzero()[0]
    if len(places):
        return ids, int(places[0]) + 1
    value = raw[token]
    above = np.count_nonzero(raw > value) + np.count_nonzero(raw[:token] == value)
    return np.append(ids, token), int(above) + 1


def _margin(ranking: Ranking) -> float:
    return float(ranking.sorted[0]) - float(ranking.sorted[1]) if len(ranking.ids) > 1 else math.inf


def _near_tie(trail: Trail | None, draw: float | None, margin: float) -> bool:
    if trail is None or draw is None:
        return greedy_near_tie(margin)
    return sampled_near_tie(trail.ranking, trail.cuts, trail.place, trail.interval, draw)


def _stage_results(processed: _Processed, params: SamplingParams, finite: int) -> tuple[StageResult, ...]:
    transforms = (StageResult(stage, _setting(stage, params), finite) for stage, _ in processed.transforms)
    filters = (StageResult(cut.stage, cut.setting, cut.kept, cut.threshold) for cut in processed.cuts)
    return (*transforms, *filters)


def _setting(stage: Stage, params: SamplingParams) -> float:
    match stage:
        case "logit_bias":
            return len(params.logit_bias)
        case "repetition":
            return params.repetition_penalty
        case "presence":
            return params.presence_penalty
        case "frequency":
            return params.frequency_penalty
        case _:
            return params.temperature


def _candidates(raw: Row, ids: Ids, processed: _Processed) -> Candidates:
    ranking = processed.ranking
    places, weights = _places(ranking, ids)
    prob = weights / processed.mass
    removed_by = np.zeros(len(ids), np.uint8)
    number = np.zeros(len(ids), np.float64)
    for cut in reversed(processed.cuts):
        removed = places >= cut.kept
        removed_by[removed] = STAGES.index(cut.stage) + 1
        number[removed] = _findings(ranking, cut, places[removed])
        prob[removed] = 0.0
    return Candidates(
        ids=array("i", ids.astype(np.int32).tobytes()),
        raw=_column(raw[ids]),
        values=tuple(_column(values[ids]) for _, values in processed.transforms),
        prob=_column(prob),
        removed_by=array("B", removed_by.tobytes()),
        number=_column(number),
    )


def _places(ranking: Ranking, ids: Ids) -> tuple[Ids, Doubles]:
    """Where each of `ids` stands in the order, and its weight; -inf stands after everything, with none."""
    ranking.down_to(float(ranking.values[ids].min()))
    found = ranking.ids == ids[:, None]
    places = found.argmax(axis=1)
    weights = ranking.weights[places]
    missing = ~found.any(axis=1)
    places[missing] = len(ranking.ids)
    weights[missing] = 0.0
    return places, weights


def _findings(ranking: Ranking, cut: Cut, places: Ids) -> Doubles:
    """What a filter found for the candidates at `places`, which it removed (see `Candidates.number`)."""
    if cut.stage == "top_k":
        return (places + 1).astype(np.float64)
    if cut.stage == "top_p":
        return ranking.cumulative[places - 1] / cut.mass
    return np.append(ranking.weights, 0.0)[places] / cut.mass


def _column(values: npt.NDArray[np.floating]) -> array[float]:
    return array("f", values.astype(np.float32).tobytes())
