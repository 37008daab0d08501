"""One moment of a run, live or recorded: what expressions are evaluated over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from engine.debug.bound import Place
from engine.debug.values import Value
from engine.events import Work
from engine.state import State


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token and how it was chosen; what is None was not recorded (a draw: it was chosen greedily)."""

    request: str
    position: int
    token: int
    draw: float | None = None
    logprob: float | None = None
    raw_logprob: float | None = None
    rank: int | None = None
    entropy: float | None = None
    varentropy: float | None = None
    margin: float | None = None
    near_tie: bool | None = None


class Candidates(Protocol):
    """What else could have been chosen. Each may raise LacksError, or answer with bounds."""

    def rank(self, token: int) -> Value: ...

    def prob(self, token: int) -> Value: ...

    def logit(self, token: int) -> Value: ...


class StageValues(Protocol):
    """Statistics of stages of the step's forward pass. Each raises LacksError where they are not known."""

    def value(self, place: Place, statistic: str, request: str) -> Value: ...

    def any_nan(self, request: str) -> Value: ...


@dataclass(frozen=True, slots=True)
class Moment:
    """`state` as of then, the step's `batch`, and whatever is looked at: a `request`, a `chosen` token of it.

    `existed` says whether a request had arrived by then, `text_of` gives a token's text.
    """

    state: State
    batch: tuple[Work, ...]
    existed: Callable[[str], bool]
    text_of: Callable[[int], str]
    stages: StageValues
    request: str | None = None
    chosen: Chosen | None = None
    candidates: Candidates | None = None
