"""Events and reasons as sentences for people, with the numbers that decided: the only place for such text.

`token_text` gives a token's text, already harmless; other foreign text passes `display_text` here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine import events as ev
from engine.wording import beams, blocks, drafts, keeping, plugins, requests, steps
from engine.wording.parts import TokenText, made_room, plural, ranges
from engine.wording.reasons import removal, why
from engine.wording.requests import scale_words
from engine.wording.steps import batch_words

_SENTENCES: Final[Mapping[type[ev.Event], Callable[[Any, TokenText], str]]] = {
    **requests.SENTENCES,
    **blocks.SENTENCES,
    **keeping.SENTENCES,
    **drafts.SENTENCES,
    **beams.SENTENCES,
    **steps.SENTENCES,
    **plugins.SENTENCES,
}


def sentence(event: ev.Event, token_text: TokenText) -> str:
    """`event` in plain words, on one line."""
    return _SENTENCES[type(event)](event, token_text)


__all__ = [
    "TokenText",
    "batch_words",
    "made_room",
    "plural",
    "ranges",
    "removal",
    "scale_words",
    "sentence",
    "why",
]
