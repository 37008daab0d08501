"""Why each request waited, missed the cache, was preempted, and what it cost: read from a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.sanitise import display_bytes, display_text
from engine.tokens import TokenLog
from engine.wording import TokenText
from sessions.explain_facts import Life, RunTotals
from sessions.explain_fold import Gatherer
from sessions.explain_history import History, Progress, no_progress
from sessions.reader import Session


@dataclass(frozen=True, slots=True)
class Run:
    """All requests of a history, in order of arrival, and what they came to."""

    lives: Sequence[Life]
    totals: RunTotals


def explain_run(session: Session, branch: int = 0, progress: Progress = no_progress) -> Run:
    """All lives, read in one pass. Raises SessionError where the session cannot be read."""
    history, tokens = History(session, branch), TokenLog()
    gatherer = Gatherer(history.state_before(0), tokens)
    for event in history.events(progress=progress):
        tokens.apply(event)
        gatherer.take(event)
    lives = gatherer.lives()
    return Run(lives, gatherer.totals(lives))


def explain_requests(
    session: Session, requests: Sequence[str], branch: int = 0, progress: Progress = no_progress
) -> list[Life]:
    """The lives of `requests`, read from the first one's arrival to the last one's end, in order of arrival.

    Raises SessionError where there is no request of that id.
    """
    history = History(session, branch)
    first = min(history.arrival_step(request) for request in requests)
    gatherer = Gatherer(history.state_before(first), history, frozenset(requests))
    for event in history.events(first, progress):
        if gatherer.complete and event.step > gatherer.state.step:
            break
        gatherer.take(event)
    return gatherer.lives()


def harmless_text(session: Session) -> TokenText:
    """The text of tokens as it may reach a terminal; the bytes of one that is a part of a character."""

    def text(token: int) -> str:
        shown = session.token_text(token)
        return display_bytes(session.token_bytes(token)) if "\ufffd" in shown else display_text(shown)

    return text


__all__ = ["Run", "explain_requests", "explain_run", "harmless_text"]
