"""Sentences about beam searches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine import events as ev
from engine.wording.parts import TokenText, plural, quoted

_MOST_BEAMS: Final = 8

SEARCH_ENDS: Final[Mapping[ev.SearchEnd, str]] = {
    "no_better": "no beam can become better than the worst output that is kept",
    "enough": "as many outputs have ended as there are beams",
    "all_ended": "every continuation ends",
    "kv_full": "its beams fill the whole KV pool",
}


def _chosen(event: ev.BeamsChosen, text: TokenText) -> str:
    taken = [each for each in event.candidates if each.fate != "passed_over"]
    words = [_candidate(each, text) for each in taken[:_MOST_BEAMS]]
    more = f", {len(taken) - _MOST_BEAMS} more" if len(taken) > _MOST_BEAMS else ""
    looked = f"of {plural(len(event.candidates), 'continuation')} at position {event.position}"
    return f"search {event.request}: {looked}, {', '.join(words) or 'none is taken'}{more}"


def _candidate(candidate: ev.Candidate, text: TokenText) -> str:
    verb = "ends" if candidate.fate == "ended" else "goes on"
    whose = candidate.request
    if candidate.request != candidate.parent:
        whose = f"{candidate.request} (from {candidate.parent})"
    return f"{whose} {verb} with {quoted(candidate.token, text)} ({candidate.score:.3f})"


def _ended(event: ev.BeamsEnded, _text: TokenText) -> str:
    best = ", ".join(f"{each.request} ({each.score:.4f})" for each in event.best[:_MOST_BEAMS])
    return f"search {event.request} is over: {SEARCH_ENDS[event.why]}; best first: {best or 'no output'}"


SENTENCES: Final[Mapping[type[ev.Event], Callable[[Any, TokenText], str]]] = {
    ev.BeamsChosen: _chosen,
    ev.BeamsEnded: _ended,
}
