"""Events of whole steps, and of the engine that takes them: planned, computed, over, gone back."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.events.base import Event
from engine.params import Policy

Phase = Literal["prefill", "decode", "verify"]
ABANDONED = "abandoned"
"""The error of a step that a person gave up, which is no failure of its requests."""


class Work(msgspec.Struct, frozen=True, array_like=True):
    """One request's share of a batch: compute `tokens` positions from `start` on."""

    request: str
    phase: Phase
    start: int
    tokens: int

    @property
    def stop(self) -> int:
        return self.start + self.tokens


class Scheduled(Event, frozen=True):
    """The plan is complete: `batch` runs now, `budget` is the most tokens a step may take."""

    batch: tuple[Work, ...]
    budget: int


class Computed(Event, frozen=True):
    """The forward pass ran: the KV of every position in `batch` is in its slot."""

    batch: tuple[Work, ...]


class StepCommitted(Event, frozen=True):
    """The step is whole. Times are observations: wall-clock, not part of any decision."""

    tokens: int
    started_ns: int
    plan_ns: int
    forward_ns: int
    sample_ns: int
    commit_ns: int


class StepFailed(Event, frozen=True):
    """`execute` raised: every block the step could have written is dropped.

    Its requests wait again, but `ended` (they failed twice without a token in between) finish with an error.
    """

    error: str
    ended: tuple[str, ...]


class Branched(Event, frozen=True):
    """The engine went back to the end of step `step` of branch `parent`; what follows is a branch of its own.

    KV of `recomputed_tokens` positions was lost and computed again in chunks, or `replayed_steps` recorded
    steps were run again as they were; the rest of the KV was still in its slots.
    """

    parent: int
    recomputed_tokens: int
    replayed_steps: int


class PolicyChanged(Event, frozen=True):
    """From the next step on requests are admitted in the order of `policy`."""

    policy: Policy
