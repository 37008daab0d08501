"""Events and reasons as sentences for people, with the numbers that decided: the only place for such text.

`token_text` gives a token's text, already harmless; other foreign text passes `display_text` here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from engine import events as ev
from engine import reasons as why_
from engine.details import Stage
from engine.interventions import Scale
from engine.reasons import FinishDetail, Reason
from engine.sanitise import display_text

TokenText = Callable[[int], str]


def sentence(event: ev.Event, token_text: TokenText) -> str:
    """`event` in plain words, on one line."""
    return _SENTENCES[type(event)](event, token_text)


def why(reason: Reason, token_text: TokenText) -> str:
    """`reason` in plain words: the part of a sentence that follows "because" or a colon."""
    return _REASONS[type(reason)](reason, token_text)


def plural(count: int, noun: str) -> str:
    """`1 block`, `2 blocks`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def ranges(numbers: Sequence[int], most: int = 6) -> str:
    """Numbers in the order given, runs joined, the end left out when there are many: `3–6 9 12 …`."""
    starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(numbers)) if b != a + 1), len(numbers)]
    runs = [numbers[start:stop] for start, stop in pairwise(starts) if stop > start]
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return " ".join(parts[:most]) + (" …" if len(parts) > most else "")


def _blocks(numbers: Sequence[int]) -> str:
    return f"block {numbers[0]}" if len(numbers) == 1 else f"{len(numbers):,} blocks ({ranges(numbers)})"


def _quoted(token: int, token_text: TokenText) -> str:
    return f"'{token_text(token)}'"


def made_room(for_request: str) -> str:
    """Why blocks left the cache."""
    return "by hand" if for_request == ev.BY_HAND else f"to make room for request {for_request}"


def refusal(need: int, limit: int, message: str) -> str:
    """The numbers of a refusal, and what the engine said about it, made harmless; empty where there is none."""
    numbers = f" ({need:,} needed, {limit:,} there)" if limit else ""
    return f"{numbers}{f': {display_text(message)}' if message else ''}"


def _names(requests: Iterable[str]) -> str:
    return ", ".join(requests)


def _room(need: int, free: int, evictable: int) -> str:
    return f"needs {plural(need, 'block')}, {free} free + {evictable} evictable"


# -- reasons -------------------------------------------------------------------------------------------


def _token_budget_spent(reason: why_.TokenBudgetSpent, _text: TokenText) -> str:
    return f"needs {plural(reason.need, 'token')}, and {reason.used} of this step's {reason.budget} are spent"


def _max_running(reason: why_.MaxRunning, _text: TokenText) -> str:
    wanted = "" if reason.need == 1 else f"needs {reason.need} places, and "
    return f"{wanted}{reason.running} of at most {reason.limit} requests run already"


def _diverged(reason: why_.Diverged, text: TokenText) -> str:
    wanted, cached = _quoted(reason.wanted, text), _quoted(reason.cached, text)
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
    others = f"; {_names(reason.others)} could have gone instead" if reason.others else "; no other could go"
    room = _room(reason.need, reason.free, reason.evictable)
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
    why_.NoFreeBlocks: lambda reason, _text: _room(reason.need, reason.free, reason.evictable),
    why_.MaxRunning: _max_running,
    why_.BehindOlder: lambda _reason, _text: "a request before it in line has not been admitted",
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


def removal(stage: Stage, number: float, threshold: float, setting: float) -> str:
    """Why a sampler stage removed a candidate, with the numbers of `engine.details.Candidates.number`."""
    if stage == "top_k":
        return f"rank {number:,.0f} > {setting:,.0f}"
    if stage == "top_p":
        return f"cumulative {number:.4g} ≥ {threshold:g} before it"
    return f"{number:.2g} < {threshold:.2g} = {setting:g} × the largest"


# -- events --------------------------------------------------------------------------------------------


def _submitted(event: ev.Submitted, _text: TokenText) -> str:
    which = f" (sample {event.sample + 1} of {event.samples})" if event.samples > 1 else ""
    params = event.params
    chosen = "greedy" if params.greedy else f"temperature {params.temperature:g}"
    prompt = plural(len(event.prompt_ids), "prompt token")
    return f"request {event.request}{which} arrives: {prompt}, at most {params.max_tokens} to generate, {chosen}"


def _forked(event: ev.Forked, text: TokenText) -> str:
    changes = " and ".join(_change_words(event, change, text) for change in event.changed) or "nothing changed"
    where = f"request {event.request} forks from {event.parent} at position {event.at_position}"
    return f"{where}, with {changes}"


def _change_words(event: ev.Forked, change: ev.Change, text: TokenText) -> str:
    match change:
        case "token":
            return f"{_quoted(event.appended[0], text)} as its token there"
        case "prompt":
            return f"another end of the prompt ({plural(len(event.appended), 'token')})"
        case "params":
            return "other sampling settings"
        case "stages":
            assert event.intervened is not None
            return ", ".join(scale_words(scale) for scale in event.intervened.scales)


def scale_words(scale: Scale) -> str:
    """A scaled stage: `layer 4 head 3 switched off`."""
    part = {"attn_out": "attention", "attn_proj": "attention", "mlp_out": "MLP"}.get(scale.stage, scale.stage)
    what = part if scale.head is None else f"head {scale.head}" + ("" if part == "attention" else f" of {part}")
    return f"layer {scale.layer} {what} " + ("switched off" if scale.factor == 0 else f"times {scale.factor:g}")


def _inherited(event: ev.Inherited, _text: TokenText) -> str:
    return (
        f"fork {event.request} starts on {_blocks(event.blocks)} of {event.source}:"
        f" {plural(event.tokens, 'token')} it need not compute"
    )


def _logits_changed(event: ev.LogitsChanged, _text: TokenText) -> str:
    change = event.change
    parts = [f"changes {plural(len(change.ids), 'logit')}"] if change.ids else []
    if change.only is not None:
        parts.append(f"allows {plural(len(set(change.only) | set(change.ids)), 'token')} only")
    elif change.removed:
        parts.append(f"removes {plural(len(change.removed), 'token')}")
    before = f"before the token at position {event.position} of request {event.request} is chosen"
    return f"plugin {event.plugin} {' and '.join(parts)} {before}"


def _plugin_disabled(event: ev.PluginDisabled, _text: TokenText) -> str:
    where = "" if event.request is None else f" at position {event.position} of request {event.request}"
    others = [f"{what} {name}" for what, name in (("policy", event.policy), ("eviction", event.eviction)) if name]
    instead = f"; from here on {' and '.join(others)}" if others else ""
    what = f"{event.hook} {event.message}{where}"
    return f"plugin {event.plugin} is disabled for the rest of the run: {what}{instead}"


def _branched(event: ev.Branched, _text: TokenText) -> str:
    where = f"branch {event.branch} begins after step {event.step} of branch {event.parent}"
    if event.replayed_steps:
        return f"{where}: {plural(event.replayed_steps, 'recorded step')} run again to have its KV back"
    if event.recomputed_tokens:
        return f"{where}: the KV of {plural(event.recomputed_tokens, 'token')} was lost and is computed again"
    return f"{where}: all its KV was still in place"


def _waiting(event: ev.Waiting, text: TokenText) -> str:
    return f"request {event.request} waits: {why(event.reason, text)}"


def _prefix_matched(event: ev.PrefixMatched, text: TokenText) -> str:
    found = f"{event.tokens} of {plural(event.looked_up, 'token')} cached"
    blocks = f" in {_blocks(event.blocks)}" if event.blocks else ""
    return f"request {event.request} finds {found}{blocks}: {why(event.end, text)}"


def _evicted(event: ev.Evicted, _text: TokenText) -> str:
    hits = "never hit" if event.hits == 0 else f"hit {event.hits}×"
    cause = made_room(event.for_request)
    policy = f" ({event.policy})" if event.for_request else ""
    return (
        f"{_blocks(event.blocks)} evicted from node {event.node} {cause}:"
        f" {plural(event.tokens, 'token')} lost, last used in step {event.last_use_step}, {hits}{policy}"
    )


def _allocated(event: ev.Allocated, _text: TokenText) -> str:
    return f"request {event.request} takes {_blocks(event.blocks)} at index {event.index} of its table"


def _copied(event: ev.Copied, _text: TokenText) -> str:
    return (
        f"request {event.request} writes into shared block {event.source}: the first"
        f" {plural(event.tokens, 'token')} are copied to block {event.block}, its own from now on"
    )


def _admitted(event: ev.Admitted, _text: TokenText) -> str:
    verb = "resumes" if event.resumed else "is admitted"
    return (
        f"request {event.request} {verb}: {event.cached_tokens} of {plural(event.tokens, 'token')} cached,"
        f" needs {plural(event.need_blocks, 'block')}, {event.free_blocks} free"
    )


def _preempted(event: ev.Preempted, text: TokenText) -> str:
    reason = event.reason
    if isinstance(reason, why_.ByHand):
        return f"request {event.request} is preempted {why(reason, text)}; {_given_up(event)}"
    itself = f"it {_room(reason.need, reason.free, reason.evictable)}, and came last itself"
    cause = itself if reason.for_request == event.request else why(reason, text)
    return f"request {event.request} is preempted: {cause}; {_given_up(event)}"


def _given_up(event: ev.Preempted) -> str:
    return (
        f"it gives up {plural(event.released_blocks, 'block')},"
        f" at most {plural(event.recompute_tokens, 'token')} to compute again"
    )


def batch_words(batch: Sequence[ev.Work]) -> str:
    """A batch by phase: `decode 1 2 · prefill 4 (64 from 0)`."""
    decode = [work.request for work in batch if work.phase == "decode"]
    prefill = [f"{w.request} ({w.tokens} from {w.start})" for w in batch if w.phase == "prefill"]
    verify = [f"{w.request} ({plural(w.tokens - 1, 'draft')})" for w in batch if w.phase == "verify"]
    named = (("decode", decode), ("verify", verify), ("prefill", prefill))
    parts = [f"{name} {' '.join(items)}" for name, items in named if items]
    return " · ".join(parts) or "nothing to run"


def _scheduled(event: ev.Scheduled, _text: TokenText) -> str:
    used = sum(work.tokens for work in event.batch)
    return f"the batch: {batch_words(event.batch)}, {used} of {plural(event.budget, 'token')}"


def _computed(event: ev.Computed, _text: TokenText) -> str:
    positions = plural(sum(work.tokens for work in event.batch), "position")
    return f"{positions} of {plural(len(event.batch), 'request')} computed"


def _cached(event: ev.Cached, _text: TokenText) -> str:
    verb = "are full and enter" if len(event.blocks) > 1 else "is full and enters"
    where = f"new node {event.node} under {event.parent}" if event.created else f"node {event.node}"
    return f"request {event.request}: {_blocks(event.blocks)} {verb} the tree at {where}"


def _split(event: ev.Split, _text: TokenText) -> str:
    kept = plural(event.at, "block")
    return f"node {event.node} splits: it keeps its first {kept}, the rest moves to new node {event.child}"


def _kept_private(event: ev.KeptPrivate, _text: TokenText) -> str:
    return (
        f"request {event.request} keeps full block {event.block} to itself:"
        f" block {event.twin} in the tree holds the same tokens"
    )


def _weighed(event: ev.Weighed, _text: TokenText) -> str:
    rows = (
        f"the row at position {event.start}"
        if event.stop == event.start + 1
        else (f"the rows at positions {event.start}–{event.stop - 1}")
    )
    total = f"{sum(event.weights):.4g} over all layers and heads"
    return f"attention of {rows} of request {event.request} to its {plural(len(event.indexes), 'block')}: {total}"


def _dropped(event: ev.Dropped, text: TokenText) -> str:
    from_here = f"rows from position {event.position} on do not read them"
    return (
        f"request {event.request} gives up {_blocks(event.blocks)} at index {ranges(event.indexes)} of its table"
        f" ({plural(event.tokens, 'token')}, {event.policy}): {why(event.reason, text)}; {from_here}"
    )


def _uncached(event: ev.Uncached, _text: TokenText) -> str:
    verb = "leaves" if len(event.blocks) == 1 else "leave"
    return (
        f"{_blocks(event.blocks)} {verb} the tree at node {event.node} and stay with request {event.request},"
        " so that the one it dropped before them can be evicted"
    )


def _drafted(event: ev.Drafted, text: TokenText) -> str:
    words = " ".join(_quoted(token, text) for token in event.drafts[:_MOST_DRAFTS])
    more = " …" if len(event.drafts) > _MOST_DRAFTS else ""
    said = (
        f"{event.method} drafts {plural(len(event.drafts), 'token')} for request {event.request}: {words}{more}"
    )
    if event.cut is None:
        return said
    goes_on = "it decodes without" if event.used == 0 else f"the first {event.used} are verified"
    return f"{said}; {why(event.cut, text)}: {goes_on}"


_MOST_DRAFTS: Final = 8


def _verified(event: ev.Verified, text: TokenText) -> str:
    accepted = sum(each.verdict == "accepted" for each in event.drafts)
    said = f"request {event.request}: {accepted} of {plural(len(event.drafts), 'draft')} accepted"
    rejected = next((each for each in event.drafts if each.verdict == "rejected"), None)
    if event.bonus is not None:
        return f"{said}, and {_quoted(event.bonus, text)} as a bonus"
    return said if rejected is None else f"{said}; {_rejection(rejected, event.residual, text)}"


def _rejection(rejected: ev.Verdict, residual: ev.Residual | None, text: TokenText) -> str:
    """Why a draft was not accepted: p, q, ratio and draw."""
    token = _quoted(rejected.token, text)
    if rejected.draw is None or rejected.p is None or rejected.ratio is None:
        return f"{token} is rejected: the target prefers another token"
    numbers = (
        f"p {rejected.p:.4f} / q {rejected.q:.4f} = {rejected.ratio:.4f}, not above draw {rejected.draw:.4f}"
    )
    instead = "" if residual is None else f"; {_quoted(residual.token, text)} is drawn from what p leaves of q"
    return f"{token} is rejected: {numbers}{instead}"


def _given_back(event: ev.GivenBack, _text: TokenText) -> str:
    return f"request {event.request} gives back {_blocks(event.blocks)}: only rejected drafts were in there"


def _token(event: ev.Token, text: TokenText) -> str:
    how = "the most likely one" if event.draw is None else f"by draw u = {event.draw:.4f}"
    token = _quoted(event.token, text)
    return f"request {event.request} gets {token} at position {event.position}, {how}"


def _finished(event: ev.Finished, _text: TokenText) -> str:
    ending = _ENDINGS[event.detail] + refusal(event.need, event.limit, event.message)
    after = plural(event.output_tokens, "token")
    return f"request {event.request} ends ({event.reason}) after {after}, {ending}"


_ENDINGS: Final[Mapping[FinishDetail, str]] = {
    "eos": "with the model's end token",
    "stop_id": "with one of its stop ids",
    "stop_string": "with one of its stop strings",
    "max_tokens": "the most it asked for",
    "context": "the model's context is full",
    "kv_full": "it fills the whole KV pool",
    "aborted": "aborted on request",
    "does_not_fit": "refused at once",
    "no_adapter": "refused at once",
    "step_failed": "its step failed again",
}


def _step_committed(event: ev.StepCommitted, _text: TokenText) -> str:
    parts = {
        "plan": event.plan_ns,
        "forward": event.forward_ns,
        "sample": event.sample_ns,
        "commit": event.commit_ns,
    }
    times = ", ".join(f"{name} {ns / 1e6:.1f}" for name, ns in parts.items())
    total = sum(parts.values()) / 1e6
    return f"step {event.step} is committed: {plural(event.tokens, 'token')} in {total:.1f} ms ({times})"


def _step_failed(event: ev.StepFailed, _text: TokenText) -> str:
    ended = f"; {_names(event.ended)} ended with it" if event.ended else ""
    return f"step {event.step} failed, its requests wait again{ended}: {display_text(event.error)}"


_SENTENCES: Final[Mapping[type[ev.Event], Callable[[Any, TokenText], str]]] = {
    ev.Submitted: _submitted,
    ev.Forked: _forked,
    ev.Inherited: _inherited,
    ev.PolicyChanged: lambda event, _text: f"from here on requests are admitted by policy {event.policy}",
    ev.Branched: _branched,
    ev.LogitsChanged: _logits_changed,
    ev.PluginDisabled: _plugin_disabled,
    ev.Waiting: _waiting,
    ev.PrefixMatched: _prefix_matched,
    ev.Evicted: _evicted,
    ev.Allocated: _allocated,
    ev.Copied: _copied,
    ev.Admitted: _admitted,
    ev.Preempted: _preempted,
    ev.Scheduled: _scheduled,
    ev.Computed: _computed,
    ev.Cached: _cached,
    ev.Split: _split,
    ev.KeptPrivate: _kept_private,
    ev.Weighed: _weighed,
    ev.Dropped: _dropped,
    ev.Uncached: _uncached,
    ev.Started: lambda event, _text: f"request {event.request} runs: its prompt is computed",
    ev.Shared: lambda event, _text: f"request {event.request} runs on the blocks of {event.source}",
    ev.Drafted: _drafted,
    ev.Verified: _verified,
    ev.GivenBack: _given_back,
    ev.Token: _token,
    ev.Finished: _finished,
    ev.StepCommitted: _step_committed,
    ev.StepFailed: _step_failed,
}

__all__ = ["TokenText", "batch_words", "made_room", "plural", "ranges", "refusal", "removal", "sentence", "why"]
