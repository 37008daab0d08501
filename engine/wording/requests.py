"""Sentences about a request's life."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine import events as ev
from engine import reasons as why_
from engine.interventions import Scale
from engine.reasons import FinishDetail
from engine.wording.parts import TokenText, after_ending, plural, quoted, room_words
from engine.wording.reasons import why


def _submitted(event: ev.Submitted, _text: TokenText) -> str:
    which = f" (sample {event.sample + 1} of {event.samples})" if event.samples > 1 else ""
    params = event.params
    chosen = "greedy" if params.greedy else f"temperature {params.temperature:g}"
    chosen = chosen if params.beams == 1 else f"{params.beams} beams"
    prompt = plural(len(event.prompt_ids), "prompt token")
    return f"request {event.request}{which} arrives: {prompt}, at most {params.max_tokens} to generate, {chosen}"


def _forked(event: ev.Forked, text: TokenText) -> str:
    changes = " and ".join(_change_words(event, change, text) for change in event.changed) or "nothing changed"
    where = f"request {event.request} forks from {event.parent} at position {event.at_position}"
    return f"{where}, with {changes}"


def _change_words(event: ev.Forked, change: ev.Change, text: TokenText) -> str:
    match change:
        case "token":
            return f"{quoted(event.appended[0], text)} as its token there"
        case "prompt":
            return f"another end of the prompt ({plural(len(event.appended), 'token')})"
        case "params":
            return "other sampling settings"
        case "stages":
            assert event.intervened is not None
            return ", ".join(scale_words(scale) for scale in event.intervened.scales)
        case "beam":
            return f"another token, as a beam of search {event.search}"


def scale_words(scale: Scale) -> str:
    """A scaled stage: `layer 4 head 3 switched off`."""
    part = {"attn_out": "attention", "attn_proj": "attention", "mlp_out": "MLP"}.get(scale.stage, scale.stage)
    what = part if scale.head is None else f"head {scale.head}" + ("" if part == "attention" else f" of {part}")
    return f"layer {scale.layer} {what} " + ("switched off" if scale.factor == 0 else f"times {scale.factor:g}")


def _waiting(event: ev.Waiting, text: TokenText) -> str:
    return f"request {event.request} waits: {why(event.reason, text)}"


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
    itself = f"it {room_words(reason.need, reason.free, reason.evictable)}, and came last itself"
    cause = itself if reason.for_request == event.request else why(reason, text)
    return f"request {event.request} is preempted: {cause}; {_given_up(event)}"


def _given_up(event: ev.Preempted) -> str:
    return (
        f"it gives up {plural(event.released_blocks, 'block')},"
        f" at most {plural(event.recompute_tokens, 'token')} to compute again"
    )


def _token(event: ev.Token, text: TokenText) -> str:
    how = "the most likely one" if event.draw is None else f"by draw u = {event.draw:.4f}"
    token = quoted(event.token, text)
    return f"request {event.request} gets {token} at position {event.position}, {how}"


_ENDINGS: Final[Mapping[FinishDetail, str]] = {
    "eos": "with the model's end token",
    "stop_id": "with one of its stop ids",
    "stop_string": "with one of its stop strings",
    "max_tokens": "the most it asked for",
    "context": "the model's context is full",
    "kv_full": "it fills the whole KV pool",
    "not_resumable": "all of it would have to be computed, and the KV pool cannot hold it",
    "aborted": "aborted on request",
    "does_not_fit": "refused at once",
    "no_adapter": "refused at once",
    "beam_dropped": "dropped from its beam search",
    "step_failed": "its step failed again",
}


def _finished(event: ev.Finished, _text: TokenText) -> str:
    ending = _ENDINGS[event.detail] + after_ending(event.detail, event.need, event.limit, event.message)
    after = plural(event.output_tokens, "token")
    return f"request {event.request} ends ({event.reason}) after {after}, {ending}"


SENTENCES: Final[Mapping[type[ev.Event], Callable[[Any, TokenText], str]]] = {
    ev.Submitted: _submitted,
    ev.Forked: _forked,
    ev.Waiting: _waiting,
    ev.Admitted: _admitted,
    ev.Preempted: _preempted,
    ev.Started: lambda event, _text: f"request {event.request} runs: its prompt is computed",
    ev.Shared: lambda event, _text: f"request {event.request} runs on the blocks of {event.source}",
    ev.Token: _token,
    ev.Finished: _finished,
}
