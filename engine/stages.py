"""The sampler's stages: transforms that change logits, filters that cut the ranking off, in one order.

Semantics are those of transformers' processors and warpers (RepetitionPenaltyLogitsProcessor,
TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper, MinPLogitsWarper) and, for the presence and
frequency penalties, OpenAI's definition over the output tokens. Every filter keeps at least one candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.changed_logits import Processed
from engine.details import FILTERS, LOG_SOFTMAX, TRANSFORMS, Stage
from engine.history import SeenTokens
from engine.params import OptionError, SamplingParams
from engine.ranking import Ranking, Row

__all__ = [
    "FILTER",
    "TRANSFORM",
    "Cut",
    "active_filters",
    "active_transforms",
    "check_vocabulary",
    "filtered",
    "transformed",
]

_NOTHING_SEEN = SeenTokens(np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class Cut:
    """What one filter did to a ranking: the first `kept` candidates stay.

    `mass` is the weight of all candidates it was given, `threshold` what it compared with.
    """

    stage: Stage
    setting: float
    kept: int
    threshold: float
    mass: float


def active_transforms(params: SamplingParams) -> tuple[Stage, ...]:
    """The transforms these settings switch on, in order; temperature is off at 0 (greedy) and at 1."""
    on = (
        bool(params.logit_bias),
        params.repetition_penalty != 1.0,
        params.presence_penalty != 0.0,
        params.frequency_penalty != 0.0,
        params.temperature not in (0.0, 1.0),
    )
    return tuple(stage for stage, active in zip(TRANSFORMS, on, strict=True) if active) if any(on) else ()


def active_filters(params: SamplingParams) -> tuple[Stage, ...]:
    """The filters these settings switch on, in order; a greedy request runs none."""
    on = (params.top_k > 0, params.top_p < 1.0, params.min_p > 0.0)
    if params.greedy or not any(on):
        return ()
    return tuple(stage for stage, active in zip(FILTERS, on, strict=True) if active)


def check_vocabulary(params: SamplingParams, vocab_size: int) -> None:
    """Raise OptionError if a setting names a token that the model does not have."""
    for token in params.logit_bias:
        if token >= vocab_size:
            raise OptionError(f"logit_bias names token {token}: the vocabulary has {vocab_size}")


def transformed(
    raw: Row, params: SamplingParams, seen: SeenTokens | None, processed: Sequence[Processed] = ()
) -> Iterator[tuple[Stage, Row]]:
    """Yield (stage, logits after it) for each active transform; each array [vocab] is a new one.

    What processors changed comes first, each a stage of the plugin's name. The stages of a beam search work on
    log-probabilities, as in transformers.
    """
    logits = raw
    for each in processed:
        logits = each.change.apply(logits)
        yield each.plugin, logits
    if params.beams > 1:
        logits = _log_softmax(logits)
        yield LOG_SOFTMAX, logits
    for stage in active_transforms(params):
        logits = TRANSFORM[stage](logits, params, seen or _NOTHING_SEEN)
        yield stage, logits


def filtered(ranking: Ranking, params: SamplingParams) -> Iterator[Cut]:
    """Yield what each active filter did, each starting from what the one before kept."""
    kept: int | None = None
    for stage in active_filters(params):
        mass = ranking.mass(kept)
        cut = FILTER[stage](ranking, params, kept, mass)
        kept = cut.kept
        yield cut


def _log_softmax(logits: Row) -> Row:
    """Log-probabilities; the sum is in float64."""
    finite = logits.astype(np.float64)
    top = finite.max()
    logprobs: Row = (finite - (top + np.log(np.exp(finite - top).sum()))).astype(np.float32)
    return logprobs


def _logit_bias(logits: Row, params: SamplingParams, _seen: SeenTokens) -> Row:
    out = logits.copy()
    biases = params.logit_bias
    out[np.fromiter(biases, np.int64, len(biases))] += np.fromiter(biases.values(), np.float32, len(biases))
    return out


def _repetition(logits: Row, params: SamplingParams, seen: SeenTokens) -> Row:
    """Keskar et al. 2019, "CTRL", section 4.1, with the sign rule of transformers."""
    out = logits.copy()
    values = out[seen.ids]
    penalty = params.repetition_penalty
    out[seen.ids] = np.where(values < 0, values * penalty, values / penalty)
    return out


def _presence(logits: Row, params: SamplingParams, seen: SeenTokens) -> Row:
    out = logits.copy()
    out[seen.ids[seen.output_counts > 0]] -= params.presence_penalty
    return out


def _frequency(logits: Row, params: SamplingParams, seen: SeenTokens) -> Row:
    out = logits.copy()
    out[seen.ids] -= params.frequency_penalty * seen.output_counts
    return out


def _temperature(logits: Row, params: SamplingParams, _seen: SeenTokens) -> Row:
    return logits / np.float32(params.temperature)


def _top_k(ranking: Ranking, params: SamplingParams, _kept: int | None, mass: float) -> Cut:
    """Fan et al. 2018. Keeps what equals the k-th largest too, as transformers does."""
    smallest, kept = ranking.kth_largest(params.top_k)
    return Cut("top_k", params.top_k, kept, smallest, mass)


def _top_p(ranking: Ranking, params: SamplingParams, kept: int | None, mass: float) -> Cut:
    """Holtzman et al. 2020. Removes a candidate once those before it already hold p of the mass."""
    reached = ranking.count_before_mass(params.top_p * mass)
    return Cut("top_p", params.top_p, _at_most(reached, kept), params.top_p, mass)


def _min_p(ranking: Ranking, params: SamplingParams, kept: int | None, mass: float) -> Cut:
    """Nguyen et al. 2024. Removes what is less than min_p times as probable as the first."""
    reached = ranking.count_heavier(params.min_p)
    return Cut("min_p", params.min_p, _at_most(reached, kept), params.min_p / mass, mass)


def _at_most(count: int, kept: int | None) -> int:
    return count if kept is None else min(count, kept)


Transform = Callable[[Row, SamplingParams, SeenTokens], Row]
"""From logits [vocab] to new ones."""
Filter = Callable[[Ranking, SamplingParams, int | None, float], Cut]
"""Keeps the first of a ranking, of which so many were left, with all their mass."""

TRANSFORM: Final[dict[Stage, Transform]] = {
    "logit_bias": _logit_bias,
    "repetition": _repetition,
    "presence": _presence,
    "frequency": _frequency,
    "temperature": _temperature,
}
FILTER: Final[dict[Stage, Filter]] = {"top_k": _top_k, "top_p": _top_p, "min_p": _min_p}
assert (tuple(TRANSFORM), tuple(FILTER)) == (TRANSFORMS, FILTERS)
