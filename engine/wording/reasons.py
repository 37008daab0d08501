"""Reasons in plain words, and why a token left the candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine import reasons as why_
from engine.details import Stage
from engine.reasons import Reason
from engine.wording.parts import TokenText, joined, made_room, plural, quoted, room_words


def _token_budget_spent(reason: why_.TokenBudgetSpent, _text: TokenText) -> str:
    return f"needs {plural(reason.need, 'token')}, and {reason.used} of this step's {reason.budget} are spent"


def _max_running(reason: why_.MaxRunning, _text: TokenText) -> str:
    wanted = "" if reason.need == 1 else f"needs {reason.need} places, and "
    return f"{wanted}{reason.running} of at most {reason.limit} requests run already"


def _diverged(reason: why_.Diverged, text: TokenText) -> str:
    wanted, cached = quoted(reason.wanted, text), quoted(reason.cached, text)
    return f"at position {reason.position} the prompt has {wanted} where cached block {reason.block} has {cached}"


def _block_not_full(reason: why_.BlockNotFull, _text: TokenText) -> str:
    left = plural(reason.tokens, "token")
    verb = "is" if reason.tokens == 1 else "are"
    return f"{left} {verb} left from position {reason.position} on, fewer than a block's {reason.block_size}"


def _evicted_earlier(reason: why_.EvictedEarlier, _text: TokenText) -> str:
    at, step = reason.position, reason.evicted_step
    return f"the block at position {at} was evicted in step {step} {made_room(reason.for_request)}"


def _last_token_needed(reason: why_.LastTokenNeeded, _text: TokenText) -> str:
    return (
        f"the block at position {reason.position} is cached too, but the last prompt token must be computed:"
        " its logits choose the first new one"
    )


def _stages_differ(reason: why_.StagesDiffer, _text: TokenText) -> str:
    return f"from position {reason.position} on its stages are scaled, and so its keys and values are its own"


def _adapter_differs(reason: why_.AdapterDiffers, _text: TokenText) -> str:
    whose = f"adapter {reason.adapter}" if reason.adapter else "the model without an adapter"
    return f"{_next_cached(reason.position, reason.tokens)} cached only as {whose} computes them"


def _salt_differs(reason: why_.SaltDiffers, _text: TokenText) -> str:
    return f"{_next_cached(reason.position, reason.tokens)} cached only for requests of another salt"


def _next_cached(position: int, tokens: int) -> str:
    return f"from position {position} on {plural(tokens, 'token')} {'is' if tokens == 1 else 'are'}"


def _needed_blocks(reason: why_.NeededBlocks, _text: TokenText) -> str:
    others = f"; {joined(reason.others)} could have gone instead" if reason.others else "; no other could go"
    room = room_words(reason.need, reason.free, reason.evictable)
    return f"request {reason.for_request} {room}, and this one came last{others}"


def _outside_window(reason: why_.OutsideWindow, _text: TokenText) -> str:
    sinks = f"the first {plural(reason.sinks, 'position')} and " if reason.sinks else ""
    return f"only {sinks}the latest {reason.window:,} stay"


def _least_attended(reason: why_.LeastAttended, _text: TokenText) -> str:
    most = f"{max(reason.scores):.4g}" if reason.scores else "nothing"
    stays = "" if reason.kept is None else f", and the least that stays {reason.kept:.4g}"
    return (
        f"attention to them sums up to at most {most}{stays} ({plural(reason.budget, 'token')} stay for theirs)"
    )


_REASONS: Final[Mapping[type[Reason], Callable[[Any, TokenText], str]]] = {
    why_.Arrived: lambda _reason, _text: "it has just arrived, and no step has considered it yet",
    why_.TokenBudgetSpent: _token_budget_spent,
    why_.NoFreeBlocks: lambda reason, _text: room_words(reason.need, reason.free, reason.evictable),
    why_.MaxRunning: _max_running,
    why_.BehindOlder: lambda _reason, _text: "a request before it in line has not been admitted",
    why_.AwaitsBeams: lambda r, _text: f"the beams of its search go on together, and {r.request} cannot yet",
    why_.AwaitsPrefill: lambda r, _text: f"it starts on the blocks of {r.request} once that has prefilled",
    why_.AfterPreemption: lambda r, _text: f"nothing is admitted in a step that had to preempt ({r.victim})",
    why_.RolledBack: lambda _reason, _text: "its step failed, and what that could have written was dropped",
    why_.Diverged: _diverged,
    why_.BlockNotFull: _block_not_full,
    why_.NeverComputed: lambda r, _text: f"nothing cached continues the prompt at position {r.position}",
    why_.EvictedEarlier: _evicted_earlier,
    why_.LastTokenNeeded: _last_token_needed,
    why_.CacheOff: lambda _reason, _text: "the prefix cache is off",
    why_.StagesDiffer: _stages_differ,
    why_.AdapterDiffers: _adapter_differs,
    why_.SaltDiffers: _salt_differs,
    why_.NeededBlocks: _needed_blocks,
    why_.ByHand: lambda _reason, _text: "by hand",
    why_.OutsideWindow: _outside_window,
    why_.LeastAttended: _least_attended,
    why_.ByPolicy: lambda _reason, _text: "as it decided",
}


def why(reason: Reason, token_text: TokenText) -> str:
    """`reason` in plain words: the part of a sentence that follows "because" or a colon."""
    return _REASONS[type(reason)](reason, token_text)


def removal(stage: Stage, number: float, threshold: float, setting: float) -> str:
    """Why a sampler stage removed a candidate, with the numbers of `engine.details.Candidates.number`."""
    if stage == "top_k":
        return f"rank {number:,.0f} > {setting:,.0f}"
    if stage == "top_p":
        return f"cumulative {number:.4g} ≥ {threshold:g} before it"
    return f"{number:.2g} < {threshold:.2g} = {setting:g} × the largest"
