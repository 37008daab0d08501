"""Events of beam search: which continuations of all beams were looked at, and what became of each."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.events.base import Event

Fate = Literal["goes_on", "ended", "passed_over"]
SearchEnd = Literal["no_better", "enough", "all_ended", "kv_full"]


class Candidate(msgspec.Struct, frozen=True, array_like=True):
    """Beam `parent` continued by `token`, whose log-probability is `logprob`; `score` is the sum over the output.

    It goes on, or has ended, as `request`; "" where it was passed over.
    """

    parent: str
    token: int
    logprob: float
    score: float
    fate: Fate
    request: str = ""


class Hypothesis(msgspec.Struct, frozen=True, array_like=True):
    """An output that has ended: `score` is its sum of log-probabilities over its length to the length penalty."""

    request: str
    score: float


class BeamsChosen(Event, frozen=True):
    """The beams of the search that began as `request` were continued at `position`.

    `candidates` are the best continuations of all beams, best first. `hypotheses` are the best outputs that have
    ended so far, as many as the search has beams at most.
    """

    request: str
    position: int
    candidates: tuple[Candidate, ...]
    hypotheses: tuple[Hypothesis, ...]


class BeamsEnded(Event, frozen=True):
    """The search that began as `request` is over, because of `why`; `best` are its outputs, best first."""

    request: str
    why: SearchEnd
    best: tuple[Hypothesis, ...]
