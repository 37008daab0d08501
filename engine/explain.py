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
from engine.moments import Moments, moments_of
from engine.near_tie import greedy_near_tie, sampled_near_tie
from engine.params import SamplingParams
from engine.ranking import Ranking, Row, heads
from engine.sampling import Choices, Logits, SamplerRow, Trail, as_logits, choose, transform
from engine.stages import Cut

__all__ = ["explain", "rework"]

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def explain(logits: Logits, rows: Sequence[SamplerRow], choices: Choices) -> list[TokenDetails]:
    """The details of each choice that `choose(logits, rows)` made; `logits` [rows, vocab] as they were."""
    scores = as_logits(logits)
    made = zip(scores, rows, choices.tokens, choices.draws, choices.trails, moments_of(scores), strict=True)
    chosen = [_Chosen(*each) for each in made]
    plain = [i for i, each in enumerate(chosen) if each.plain]
    told = _plain_details(scores[plain], [chosen[i] for i in plain]) if plain else []
    found = dict(zip(plain, told, strict=True))
    return [found.get(i) or _details(each) for i, each in enumerate(chosen)]


def rework(logits_row: Logits, row: SamplerRow, params: SamplingParams) -> TokenDetails:
    """What other settings would have chosen from the same logits [vocab] with the same draw."""
    logits = as_logits(np.asarray(logits_row)[None])
    rows = [replace(row, params=params)]
    return explain(logits, rows, choose(logits, rows))[0]


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """A row of logits and the choice that was made from it."""

    raw: Row
    row: SamplerRow
    token: int
    draw: float | None
    trail: Trail | None
    moments: Moments

    @property
    def plain(self) -> bool:
        """Whether simply the largest logit was taken, as most rows are: no stage, no draw."""
        return self.trail is None and not self.row.transforms


def _plain_details(scores: npt.NDArray[np.float32], chosen: Sequence[_Chosen]) -> list[TokenDetails]:
    """The details of plain rows; `scores` [rows, vocab] are theirs."""
    ids = heads(scores, MAX_CANDIDATES)
    raw = np.take_along_axis(scores, ids, axis=1)
    prob = np.exp(raw - np.array([[each.moments.lse] for each in chosen]))
    finite = np.count_nonzero(raw > -np.inf, axis=1).tolist()
    columns = zip(ids.astype(np.int32), raw, prob.astype(np.float32), finite, strict=True)
    return [_plain_row(each, _head(*head)) for each, head in zip(chosen, columns, strict=True)]


def _head(ids: npt.NDArray[np.int32], raw: Row, prob: Row, n: int) -> Candidates:
    """The first `n` of a plain row's columns: nothing was transformed or removed."""
    return Candidates(
        ids=array("i", ids[:n].tobytes()),
        raw=array("f", raw[:n].tobytes()),
        values=(),
        prob=array("f", prob[:n].tobytes()),
        removed_by=array("B", bytes(n)),
        number=array("f", bytes(4 * n)),
    )


def _plain_row(chosen: _Chosen, head: Candidates) -> TokenDetails:
    moments = chosen.moments
    logprob = head.raw[0] - moments.lse
    margin = head.raw[0] - head.raw[1] if len(head) > 1 else math.inf
    return TokenDetails(
        request=chosen.row.request_id,
        position=chosen.row.position,
        token=chosen.token,
        rank=1,
        raw_lse=moments.lse,
        raw_logprob=logprob,
        processed_lse=moments.lse,
        processed_logprob=logprob,
        entropy=moments.entropy,
        varentropy=moments.varentropy,
        margin=margin,
        draw=None,
        interval=None,
        near_tie=greedy_near_tie(margin),
        logits_hash=xxhash.xxh3_64_intdigest(chosen.raw.data),
        stages=(),
        candidates=head,
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


def _details(chosen: _Chosen) -> TokenDetails:
    """The details of a row that went through stages or was drawn."""
    raw, row, token, trail, moments = chosen.raw, chosen.row, chosen.token, chosen.trail, chosen.moments
    processed = _from_trail(trail) if trail else _greedy(raw, row)
    ids, rank = _shown(raw, processed, token)
    margin = _margin(processed.ranking)
    return TokenDetails(
        request=row.request_id,
        position=row.position,
        token=token,
        rank=rank,
        raw_lse=moments.lse,
        raw_logprob=float(raw[token]) - moments.lse,
        processed_lse=processed.lse,
        processed_logprob=float(processed.ranking.values[token]) - processed.lse,
        entropy=moments.entropy,
        varentropy=moments.varentropy,
        margin=margin,
        draw=chosen.draw,
        interval=trail.interval if trail and not trail.drafted else None,
        near_tie=_near_tie(trail, chosen.draw, margin if row.gap is None else row.gap),
        logits_hash=xxhash.xxh3_64_intdigest(raw.data),
        stages=_stage_results(processed, row),
        candidates=_candidates(raw, ids, rank, processed),
    )


def _from_trail(trail: Trail) -> _Processed:
    return _Processed(trail.transforms, trail.ranking, trail.cuts, trail.ranking.mass(trail.kept))


def _greedy(raw: Row, row: SamplerRow) -> _Processed:
    transforms = transform(raw, row)
    ranking = Ranking(transforms[-1][1])
    return _Processed(transforms, ranking, (), ranking.mass())


def _shown(raw: Row, processed: _Processed, token: int) -> tuple[Ids, int]:
    """The ids of the candidates to keep, and the rank of the chosen token among all, from 1."""
    ids = _raw_head(raw, processed)[:MAX_CANDIDATES]
    places = (ids == token).nonzero()[0]
    if len(places):
        return ids, int(places[0]) + 1
    value = raw[token]
    above = np.count_nonzero(raw > value) + np.count_nonzero(raw[:token] == value)
    return np.append(ids, token), int(above) + 1


def _raw_head(raw: Row, processed: _Processed) -> Ids:
    """The tokens with the largest raw logits, in order."""
    transforms = [stage for stage, _ in processed.transforms]
    if not transforms:
        return processed.ranking.ids
    if transforms == ["temperature"]:  # it keeps the order, but may round two logits to the same
        ids = np.sort(processed.ranking.ids)
        return ids[np.argsort(-raw[ids], kind="stable")]
    return Ranking(raw).ids


def _margin(ranking: Ranking) -> float:
    return float(ranking.sorted[0]) - float(ranking.sorted[1]) if len(ranking.ids) > 1 else math.inf


def _near_tie(trail: Trail | None, draw: float | None, margin: float) -> bool:
    if trail is None or draw is None:
        return greedy_near_tie(margin)
    return sampled_near_tie(trail.ranking, trail.cuts, trail.place, trail.interval, draw)


def _stage_results(processed: _Processed, row: SamplerRow) -> tuple[StageResult, ...]:
    changed = {each.plugin: each.change.count for each in row.processed}
    transforms = (
        StageResult(stage, changed[stage] if stage in changed else _setting(stage, row.params), _finite(values))
        for stage, values in processed.transforms
    )
    filters = (StageResult(cut.stage, cut.setting, cut.kept, cut.threshold) for cut in processed.cuts)
    return (*transforms, *filters)


def _finite(values: Row) -> int:
    return int(np.count_nonzero(values > -np.inf))


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
        case "log_softmax":
            return 0.0
        case _:
            return params.temperature


def _candidates(raw: Row, ids: Ids, rank: int, processed: _Processed) -> Candidates:
    ranking = processed.ranking
    places = _moved_places(ranking, ids) if processed.transforms else _raw_places(ids, rank)
    weights = _weights(ranking, places)
    prob = weights / processed.mass
    removed_by = np.zeros(len(ids), np.uint8)
    number = np.zeros(len(ids), np.float64)
    for cut in reversed(processed.cuts):
        removed = places >= cut.kept
        if not removed.any():
            continue
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


def _raw_places(ids: Ids, rank: int) -> Ids:
    """Where each of `ids` stands in the raw order: they are its head, and perhaps the chosen one."""
    places = np.arange(len(ids))
    places[-1] = max(rank - 1, places[-1])
    return places


def _moved_places(ranking: Ranking, ids: Ids) -> Ids:
    """Where each of `ids` stands in an order that the transforms changed; -inf stands after everything."""
    ranking.down_to(float(ranking.values[ids].min()))
    found = ranking.ids == ids[:, None]
    return np.where(found.any(axis=1), found.argmax(axis=1), len(ranking.ids))


def _weights(ranking: Ranking, places: Ids) -> Doubles:
    """The weights at `places` of the order; none after its end."""
    return ranking.weights[places] if places.max() < len(ranking.ids) else np.append(ranking.weights, 0.0)[places]


def _findings(ranking: Ranking, cut: Cut, places: Ids) -> Doubles:
    """What a filter found for the candidates at `places`, which it removed (see `Candidates.number`)."""
    if cut.stage == "top_k":
        return (places + 1).astype(np.float64)
    if cut.stage == "top_p":
        return ranking.cumulative[places - 1] / cut.mass
    return _weights(ranking, places) / cut.mass


def _column(values: npt.NDArray[np.floating]) -> array[float]:
    return array("f", values.astype(np.float32).tobytes())
