"""Sentences about whole steps, and the engine that takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from engine import events as ev
from engine.sanitise import display_text
from engine.wording.parts import TokenText, joined, plural


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
    ended = f"; {joined(event.ended)} ended with it" if event.ended else ""
    return f"step {event.step} failed, its requests wait again{ended}: {display_text(event.error)}"


def _branched(event: ev.Branched, _text: TokenText) -> str:
    where = f"branch {event.branch} begins after step {event.step} of branch {event.parent}"
    if event.replayed_steps:
        return f"{where}: {plural(event.replayed_steps, 'recorded step')} run again to have its KV back"
    if event.recomputed_tokens:
        return f"{where}: the KV of {plural(event.recomputed_tokens, 'token')} was lost and is computed again"
    return f"{where}: all its KV was still in place"


SENTENCES: Final[Mapping[type[ev.Event], Callable[[Any, TokenText], str]]] = {
    ev.PolicyChanged: lambda event, _text: f"from here on requests are admitted by policy {event.policy}",
    ev.Branched: _branched,
    ev.Scheduled: _scheduled,
    ev.Computed: _computed,
    ev.StepCommitted: _step_committed,
    ev.StepFailed: _step_failed,
}
