"""Token ids of every request, finished ones too: what the state leaves out, and cached blocks stand for."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Protocol

from engine import events as ev


class TokenSource(Protocol):
    """Anything that knows the token ids of a request."""

    def tokens_of(self, request: str) -> Sequence[int]:
        """Prompt and output of `request` so far; position is the index."""
        ...


class TokenLog:
    """Token ids folded from `submitted` and `token` events."""

    def __init__(self) -> None:
        self._tokens: dict[str, array[int]] = {}
        self._prompt_tokens: dict[str, int] = {}

    def apply(self, event: ev.Event) -> None:
        if isinstance(event, ev.Token):
            self._tokens[event.request].append(event.token)
        elif isinstance(event, ev.Submitted):
            self._tokens[event.request] = array("i", event.prompt_ids)
            self._prompt_tokens[event.request] = len(event.prompt_ids)

    def tokens_of(self, request: str) -> Sequence[int]:
        return self._tokens[request]

    def prompt_tokens_of(self, request: str) -> int:
        return self._prompt_tokens[request]
