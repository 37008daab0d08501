"""Why the engine did, or refused, something: a code and the numbers that decided.

Sentences for people are made from these in `engine.wording`, and nowhere else.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec


class Reason(msgspec.Struct, frozen=True, tag_field="code"):
    """Base of all reasons; the tag is the code."""


class Arrived(Reason, frozen=True, tag="arrived"):
    """Submitted; no step has considered it yet."""


class TokenBudgetSpent(Reason, frozen=True, tag="token_budget_spent"):
    """`used + need > budget`, in tokens of this step."""

    need: int
    used: int
    budget: int


class NoFreeBlocks(Reason, frozen=True, tag="no_free_blocks"):
    """`need > free + evictable`, in blocks."""

    need: int
    free: int
    evictable: int


class MaxRunning(Reason, frozen=True, tag="max_running"):
    """`running + need > limit`, in requests (`need` is the number of samples)."""

    need: int
    running: int
    limit: int


class BehindOlder(Reason, frozen=True, tag="behind_older"):
    """Another request is first in the admission order and has not been admitted."""


class AwaitsPrefill(Reason, frozen=True, tag="awaits_prefill"):
    """A sample that starts on the table of `request` once that has prefilled the prompt."""

    request: str


class AwaitsBeams(Reason, frozen=True, tag="awaits_beams"):
    """The beams of a search go on together, and beam `request` cannot yet."""

    request: str


class AfterPreemption(Reason, frozen=True, tag="after_preemption"):
    """Nothing is admitted in a step that had to preempt (`victim`)."""

    victim: str


class RolledBack(Reason, frozen=True, tag="rolled_back"):
    """Its step failed or never committed; what it could have written was dropped."""


WaitReason: TypeAlias = (
    Arrived
    | TokenBudgetSpent
    | NoFreeBlocks
    | MaxRunning
    | BehindOlder
    | AwaitsPrefill
    | AwaitsBeams
    | AfterPreemption
    | RolledBack
)


class Diverged(Reason, frozen=True, tag="diverged"):
    """At `position` the prompt has `wanted` where the closest cached block (`block`) has `cached`."""

    position: int
    wanted: int
    cached: int
    block: int


class BlockNotFull(Reason, frozen=True, tag="block_not_full"):
    """From `position` on only `tokens` are left to match, fewer than the `block_size` of a whole block."""

    position: int
    tokens: int
    block_size: int


class NeverComputed(Reason, frozen=True, tag="never_computed"):
    """No cached block continues the prompt at `position`."""

    position: int


class EvictedEarlier(Reason, frozen=True, tag="evicted_earlier"):
    """The block at `position` was cached, and evicted at `evicted_step` to make room for `for_request`."""

    position: int
    evicted_step: int
    for_request: str


class LastTokenNeeded(Reason, frozen=True, tag="last_token_needed"):
    """The block at `position` is cached, but its last token must be computed: its logits choose the next."""

    position: int


class CacheOff(Reason, frozen=True, tag="cache_off"):
    """The prefix cache is switched off, or the prompt is too long to share its keys (dynamic rope)."""


class StagesDiffer(Reason, frozen=True, tag="stages_differ"):
    """From `position` on its stages are scaled, so that its KV is its own."""

    position: int


class AdapterDiffers(Reason, frozen=True, tag="adapter_differs"):
    """From `position` on the next `tokens` tokens are cached as requests with `adapter` ("": none) have them."""

    position: int
    tokens: int
    adapter: str


class SaltDiffers(Reason, frozen=True, tag="salt_differs"):
    """From `position` on the next `tokens` tokens are cached for requests of another salt."""

    position: int
    tokens: int


MatchEnd: TypeAlias = (
    Diverged
    | BlockNotFull
    | NeverComputed
    | EvictedEarlier
    | LastTokenNeeded
    | CacheOff
    | StagesDiffer
    | AdapterDiffers
    | SaltDiffers
)


class NeededBlocks(Reason, frozen=True, tag="needed_blocks"):
    """`need > free + evictable` for `for_request`; the victim came last, `others` could have been chosen."""

    for_request: str
    need: int
    free: int
    evictable: int
    others: tuple[str, ...]


class ByHand(Reason, frozen=True, tag="by_hand"):
    """A person, or a script, asked for it."""


PreemptReason: TypeAlias = NeededBlocks | ByHand


class OutsideWindow(Reason, frozen=True, tag="outside_window"):
    """Neither among the first `sinks` positions nor among the latest `window`."""

    sinks: int
    window: int


class LeastAttended(Reason, frozen=True, tag="least_attended"):
    """Their attention `scores` are the lowest; of those that could have gone, the least that stayed has `kept`.

    `budget` tokens are kept for their scores; `kept` is None where none of those stayed.
    """

    scores: tuple[float, ...]
    kept: float | None
    budget: int


class ByPolicy(Reason, frozen=True, tag="by_policy"):
    """The policy says no more."""


DropReason: TypeAlias = OutsideWindow | LeastAttended | ByPolicy

FinishReason = Literal["stop", "length", "abort", "error"]
FinishDetail = Literal[
    "eos",
    "stop_id",
    "stop_string",
    "max_tokens",
    "context",
    "kv_full",
    "not_resumable",
    "aborted",
    "does_not_fit",
    "step_failed",
    "no_adapter",
    "beam_dropped",
]
REFUSALS: tuple[FinishDetail, ...] = ("does_not_fit", "no_adapter")
"""Ends of requests that could never run, as their `message` says."""
