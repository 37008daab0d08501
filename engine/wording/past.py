"""Reasons told afterwards, when it is known for how long they held: the past tense of `engine.wording`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from engine import reasons as why_
from engine.events import Change
from engine.reasons import FinishDetail, Reason
from engine.wording.parts import TokenText, after_ending, made_room, plural
from engine.wording.reasons import why

WAITED: Final[Mapping[str, str]] = {
    "arrived": "for a first plan",
    "token_budget_spent": "for the token budget",
    "no_free_blocks": "for KV blocks",
    "max_running": "for a place among the running",
    "behind_older": "behind another request",
    "awaits_prefill": "for the prefill of a sample",
    "awaits_beams": "for another beam of its search",
    "after_preemption": "after a preemption",
    "rolled_back": "after a failed step",
    "preempted": "just preempted",
}
"""What a wait was for, by the code of its reason."""


CHANGED: Final[Mapping[Change, str]] = {
    "token": "another token",
    "params": "other settings",
    "prompt": "another end of the prompt",
    "stages": "scaled stages",
    "beam": "another token of its beam search",
}
"""What a fork has that its parent had not."""


def span(numbers: Sequence[int]) -> str:
    """`4`, or `4 to 7` where they were not always the same."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def waited_for(reasons: Sequence[Reason]) -> str:
    """What was waited for while `reasons`, one or more of one kind, held one after the other."""
    return _WAITED[type(reasons[0])](reasons)


def _blocks(reasons: Sequence[why_.NoFreeBlocks]) -> str:
    need, free = span([r.need for r in reasons]), span([r.free for r in reasons])
    noun, verb = _noun(need, "block"), "was" if free == "1" else "were"
    return f"for {need} {noun} while {free} {verb} free and {span([r.evictable for r in reasons])} evictable"


def _budget(reasons: Sequence[why_.TokenBudgetSpent]) -> str:
    need, used = span([r.need for r in reasons]), span([r.used for r in reasons])
    return f"for {need} {_noun(need, 'token')} of the budget while {used} of {reasons[0].budget:,} were spent"


def _place(reasons: Sequence[why_.MaxRunning]) -> str:
    need, running = span([r.need for r in reasons]), span([r.running for r in reasons])
    places = "a place" if need == "1" else f"{need} places"
    return f"for {places} while {running} of at most {reasons[0].limit:,} requests ran"


def _prefill(reasons: Sequence[why_.AwaitsPrefill]) -> str:
    requests = list(dict.fromkeys(r.request for r in reasons))
    noun = "request" if len(requests) == 1 else "requests"
    return f"for {noun} {', then '.join(requests)} to compute the prompt they share"


def _beams(reasons: Sequence[why_.AwaitsBeams]) -> str:
    return f"for {', then '.join(dict.fromkeys(r.request for r in reasons))}, another beam of its search"


def _noun(number: str, noun: str) -> str:
    return noun if number == "1" else f"{noun}s"


def _victims(reasons: Sequence[why_.AfterPreemption]) -> str:
    victims = ", ".join(dict.fromkeys(r.victim for r in reasons))
    return f"because nothing is admitted in a step that preempts ({victims})"


_WAITED: Final[Mapping[type[Reason], Callable[[Any], str]]] = {
    why_.Arrived: lambda _reasons: "for the first plan after its arrival",
    why_.TokenBudgetSpent: _budget,
    why_.NoFreeBlocks: _blocks,
    why_.MaxRunning: _place,
    why_.BehindOlder: lambda _reasons: "behind another request",
    why_.AwaitsPrefill: _prefill,
    why_.AwaitsBeams: _beams,
    why_.AfterPreemption: _victims,
    why_.RolledBack: lambda _reasons: "for the plan after the failed step",
}


def match_ended(reason: Reason, written_by: str | None, text: TokenText) -> str:
    """Why a prefix match went no further; `written_by` computed the block that it is compared with."""
    match reason:
        case why_.Diverged(position=position, wanted=wanted, cached=cached, block=block):
            whose = f"(block {block}, computed by request {written_by})" if written_by else f"(block {block})"
            return f"token {position} is '{text(wanted)}' and the cached one is '{text(cached)}' {whose}"
        case why_.BlockNotFull(tokens=tokens, block_size=size):
            verb = "was" if tokens == 1 else "were"
            return f"{plural(tokens, 'token')} {verb} left, fewer than a block's {size}"
        case why_.NeverComputed(position=position):
            return (
                f"no cached block continued it at position {position}"
                if position
                else "no cached block began like it"
            )
        case why_.EvictedEarlier(position=position, evicted_step=step, for_request=request):
            return f"the block at position {position} was evicted in step {step} {made_room(request)}"
        case why_.LastTokenNeeded(position=position):
            return f"the last token must be computed, though the block at position {position} was cached too"
        case why_.CacheOff():
            return "the prefix cache was off for it"
    return why(reason, text)


def preempted_for(reason: Reason, request: str, text: TokenText) -> str:
    """Who needed the room that `request` gave up, and what there was."""
    if isinstance(reason, why_.ByHand):
        return "a person or a script asked for it"
    if not isinstance(reason, why_.NeededBlocks):
        return why(reason, text)
    who = "it" if reason.for_request == request else f"request {reason.for_request}"
    verb = "was" if reason.free == 1 else "were"
    need, evictable = plural(reason.need, "block"), reason.evictable
    return f"{who} needed {need} while {reason.free} {verb} free and {evictable} evictable"


ENDED: Final[Mapping[FinishDetail, str]] = {
    "eos": "by the model's end token",
    "stop_id": "by one of its stop ids",
    "stop_string": "by one of its stop strings",
    "max_tokens": "the most it asked for",
    "context": "when the model's context was full",
    "kv_full": "when it filled the whole KV pool",
    "not_resumable": "when all of it would have had to be computed, more than the KV pool holds",
    "aborted": "aborted on request",
    "does_not_fit": "refused at once",
    "no_adapter": "refused at once",
    "beam_dropped": "when its beam search dropped it",
    "step_failed": "because its step failed again",
}


def ended(detail: FinishDetail, need: int, limit: int, message: str) -> str:
    """How a request ended, with the numbers of a refusal and what the engine said about it, made harmless."""
    return ENDED[detail] + after_ending(detail, need, limit, message)


__all__ = ["CHANGED", "ENDED", "WAITED", "ended", "match_ended", "preempted_for", "span", "waited_for"]
