"""Sentences about drafted tokens and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine import events as ev
from engine.wording.parts import TokenText, listed, plural, quoted
from engine.wording.reasons import why

_MOST_DRAFTS: Final = 8


def _drafted(event: ev.Drafted, text: TokenText) -> str:
    words = " ".join(quoted(token, text) for token in event.drafts[:_MOST_DRAFTS])
    more = " …" if len(event.drafts) > _MOST_DRAFTS else ""
    said = (
        f"{event.method} drafts {plural(len(event.drafts), 'token')} for request {event.request}: {words}{more}"
    )
    if event.cut is None:
        return said
    goes_on = "it decodes without" if event.used == 0 else f"the first {event.used} are verified"
    return f"{said}; {why(event.cut, text)}: {goes_on}"


def _verified(event: ev.Verified, text: TokenText) -> str:
    accepted = sum(each.verdict == "accepted" for each in event.drafts)
    said = f"request {event.request}: {accepted} of {plural(len(event.drafts), 'draft')} accepted"
    rejected = next((each for each in event.drafts if each.verdict == "rejected"), None)
    if event.bonus is not None:
        return f"{said}, and {quoted(event.bonus, text)} as a bonus"
    return said if rejected is None else f"{said}; {_rejection(rejected, event.residual, text)}"


def _rejection(rejected: ev.Verdict, residual: ev.Residual | None, text: TokenText) -> str:
    """Why a draft was not accepted: p, q, ratio and draw."""
    token = quoted(rejected.token, text)
    if rejected.draw is None or rejected.p is None or rejected.ratio is None:
        return f"{token} is rejected: the target prefers another token"
    numbers = (
        f"p {rejected.p:.4f} / q {rejected.q:.4f} = {rejected.ratio:.4f}, not above draw {rejected.draw:.4f}"
    )
    instead = "" if residual is None else f"; {quoted(residual.token, text)} is drawn from what p leaves of q"
    return f"{token} is rejected: {numbers}{instead}"


def _given_back(event: ev.GivenBack, _text: TokenText) -> str:
    return f"request {event.request} gives back {listed(event.blocks)}: only rejected drafts were in there"


SENTENCES: Final[Mapping[type[ev.Event], Callable[[Any, TokenText], str]]] = {
    ev.Drafted: _drafted,
    ev.Verified: _verified,
    ev.GivenBack: _given_back,
}
