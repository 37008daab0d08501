"""The border between bookkeeping and tensors: what a step asks to be computed, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.details import TokenDetails
from engine.events import Copied, Work
from engine.params import SamplingParams

DetailsOf = Callable[[], Sequence[TokenDetails]]


@dataclass(frozen=True, slots=True)
class Slice:
    """One request's part of a batch: `token_ids` of positions `work.start` to `work.stop`, and its table."""

    work: Work
    token_ids: Sequence[int]
    table: Sequence[int]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A token to choose for the position after `tokens`, from the last row of slice `row`."""

    request: str
    row: int
    sample: int
    params: SamplingParams
    prompt_tokens: int
    tokens: Sequence[int]

    @property
    def position(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class Job:
    """A step's work: copy blocks, run the slices through the model, choose tokens."""

    copies: Sequence[Copied]
    slices: Sequence[Slice]
    choices: Sequence[Choice]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`tokens` and `draws` answer the job's choices in order; `details` explains them, when asked."""

    tokens: Sequence[int]
    draws: Sequence[float | None]
    details: DetailsOf
    forward_ns: int
    sample_ns: int


class Executor(Protocol):
    """Whoever holds the tensors. `execute` may raise anything: the step then fails and is rolled back."""

    def execute(self, job: Job) -> Outcome: ...

    def forget(self, request: str) -> None:
        """`request` is finished: nothing of it is needed any more but its cached blocks."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What the model allows: positions, and the ids that end an output."""

    max_context: int
    vocab_size: int
    eos_ids: frozenset[int] = frozenset()
