"""Beam search: the likeliest outputs, looked for along several of them at once. No torch.

As transformers does it: scores are sums of log-probabilities after the sampler's stages; of the best 2N (or more,
where several tokens end an output) continuations of N beams the first N that do not end go on; one that ends is
kept if it is among the first N, and competes by its sum over its length to the length penalty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import msgspec

from engine.events.beams import Candidate, Fate, Hypothesis, SearchEnd
from engine.ids import request_id
from engine.params import EarlyStopping, SamplingParams


class Search(msgspec.Struct, frozen=True, array_like=True):
    """A beam search under way: the outputs that ended. Its beams are the live requests that name it.

    `arrival` is that of the request it began with: all its beams stand in line there.
    """

    id: str
    arrival: int
    hypotheses: tuple[Hypothesis, ...] = ()


class Row(Protocol):
    """The row of logits that a beam continues from."""

    def best(self, count: int) -> Sequence[tuple[int, float]]:
        """The `count` likeliest tokens with their log-probabilities, best first, ties by token id."""
        ...


@dataclass(frozen=True, slots=True)
class Beam:
    """A live beam: the sum of its log-probabilities so far, and its row."""

    request: str
    score: float
    row: Row


@dataclass(frozen=True, slots=True)
class Rules:
    """How a search goes on. `ends` says whether an output ends with a token that takes it to `length` tokens."""

    width: int
    length_penalty: float
    early_stopping: EarlyStopping
    longest: int
    considered: int
    """Continuations that are looked at: enough for `width` of them to go on, whichever end."""
    ends: Callable[[int, int], bool]

    @staticmethod
    def of(params: SamplingParams, ending_ids: int, ends: Callable[[int, int], bool]) -> Rules:
        """The rules of a request, where `ending_ids` tokens can end an output."""
        return Rules(
            params.beams, params.length_penalty, params.early_stopping, params.max_tokens,
            considered_of(params.beams, ending_ids), ends,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Continued:
    """What became of the beams: `over` is why the search ends with this, None while it goes on."""

    candidates: tuple[Candidate, ...]
    hypotheses: tuple[Hypothesis, ...]
    over: SearchEnd | None


def margin_of(candidates: Sequence[Candidate]) -> float:
    """How close two neighbours among them are, in score: in another order others might have been chosen."""
    scores = [each.score for each in candidates]
    return min((better - worse for better, worse in pairwise(scores)), default=math.inf)


def considered_of(width: int, ending_ids: int) -> int:
    """How many continuations a step looks at."""
    return max(2, 1 + ending_ids) * width


def continue_beams(
    beams: Sequence[Beam], rules: Rules, hypotheses: Sequence[Hypothesis], length: int, next_request: int
) -> Continued:
    """Choose how `beams` go on; with this token their outputs have `length` tokens.

    A beam goes on as itself with its best continuation; further ones are requests from number `next_request` on.
    """
    found = _ranked(beams, rules.considered)
    ended = [rules.ends(each.token, length) for each in found]
    fates = _fates(ended, rules.width)
    scores = {
        at: normalised(found[at].score, length, rules.length_penalty)
        for at, f in enumerate(fates)
        if f == "ended"
    }
    kept = _best_hypotheses(hypotheses, scores, rules.width)
    fates = ["passed_over" if fate == "ended" and at not in kept.new else fate for at, fate in enumerate(fates)]
    over = _over(found, fates, rules, kept.scores, length)
    if over is not None:
        fates = ["passed_over" if fate == "goes_on" else fate for fate in fates]
    named = _named(found, fates, next_request)
    return Continued(named, kept.hypotheses(hypotheses, named), over)


def normalised(score: float, length: int, penalty: float) -> float:
    """The number by which outputs of different lengths are compared (Wu et al. 2016, without its constant 5)."""
    return score / float(length**penalty)


def _ranked(beams: Sequence[Beam], count: int) -> list[Candidate]:
    """The best continuations of all beams; of equal ones that of the earlier beam, then of the lower token id."""
    found = [
        (-(beam.score + logprob), at, token, logprob)
        for at, beam in enumerate(beams)
        for token, logprob in beam.row.best(count)
    ]
    return [
        Candidate(beams[at].request, token, logprob, -negated, "passed_over")
        for negated, at, token, logprob in sorted(found)[:count]
    ]


def _fates(ended: Sequence[bool], width: int) -> list[Fate]:
    """The first `width` that do not end go on; one that ends counts among the first `width` only."""
    fates: list[Fate] = []
    for at, ends in enumerate(ended):
        if ends:
            fates.append("ended" if at < width else "passed_over")
        else:
            fates.append("goes_on" if fates.count("goes_on") < width else "passed_over")
    return fates


@dataclass(frozen=True, slots=True)
class _Kept:
    """The best outputs: each is one that had ended before, by its index, or a candidate, by its place."""

    order: tuple[tuple[bool, int, float], ...]

    @property
    def new(self) -> set[int]:
        return {at for fresh, at, _ in self.order if fresh}

    @property
    def scores(self) -> list[float]:
        return [score for _, _, score in self.order]

    def hypotheses(self, before: Sequence[Hypothesis], candidates: Sequence[Candidate]) -> tuple[Hypothesis, ...]:
        return tuple(
            Hypothesis(candidates[at].request, score) if fresh else before[at] for fresh, at, score in self.order
        )


def _best_hypotheses(before: Sequence[Hypothesis], new: dict[int, float], width: int) -> _Kept:
    """The `width` best of those before and the new ones; of equal ones those that ended earlier."""
    all_ = [(False, at, each.score) for at, each in enumerate(before)]
    all_ += [(True, at, score) for at, score in new.items()]
    return _Kept(tuple(sorted(all_, key=lambda each: -each[2])[:width]))


def _over(
    found: Sequence[Candidate], fates: Sequence[Fate], rules: Rules, kept: Sequence[float], length: int
) -> SearchEnd | None:
    """Why the search is over, if it is."""
    running = [each.score for each, fate in zip(found, fates, strict=True) if fate == "goes_on"]
    if not running:
        return "all_ended"
    if len(kept) < rules.width:
        return None
    if rules.early_stopping is True:
        return "enough"
    hopeful = rules.longest if rules.early_stopping == "never" and rules.length_penalty > 0 else length
    return None if normalised(running[0], hopeful, rules.length_penalty) > min(kept) else "no_better"


def _named(found: Sequence[Candidate], fates: Sequence[Fate], next_request: int) -> tuple[Candidate, ...]:
    """The candidates as requests: one of each parent's is the parent itself, its best that goes on, if any."""
    heirs: dict[str, int] = {}
    for fate in ("goes_on", "ended"):
        for at, candidate in enumerate(found):
            if fates[at] == fate:
                heirs.setdefault(candidate.parent, at)
    named = []
    for at, (candidate, fate) in enumerate(zip(found, fates, strict=True)):
        request = ""
        if fate != "passed_over" and heirs[candidate.parent] == at:
            request = candidate.parent
        elif fate != "passed_over":
            request, next_request = request_id(next_request), next_request + 1
        named.append(msgspec.structs.replace(candidate, fate=fate, request=request))
    return tuple(named)
