"""Token ids of every request, finished ones too: what the state leaves out, and cached blocks stand for."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine import events as ev
from engine.drop_log import DropLog
from engine.interventions import Intervened
from engine.params import SamplingParams


class TokenSource(Protocol):
    """Anything that knows the token ids of a request."""

    def tokens_of(self, request: str) -> Sequence[int]:
        """Prompt and output of `request` so far; position is the index."""
        ...


class RequestSource(TokenSource, Protocol):
    """Anything that knows what a request asked for, too."""

    def asked(self, request: str) -> Asked:
        """What `request` asked for when it arrived."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asked for when it arrived: needed to fork it, and to compute it again, when it is gone."""

    prompt_tokens: int
    params: SamplingParams
    sample: int = 0
    priority: int = 0
    intervened: Intervened | None = None


class TokenLog:
    """Token ids folded from `submitted`, `forked` and `token` events."""

    def __init__(self) -> None:
        self._tokens: dict[str, array[int]] = {}
        self._asked: dict[str, Asked] = {}
        self.drops = DropLog()

    def apply(self, event: ev.Event) -> None:
        self.drops.apply(event)
        if isinstance(event, ev.Token):
            self._tokens[event.request].append(event.token)
        elif isinstance(event, ev.Submitted):
            prompt = event.prompt_ids
            self.add(event.request, prompt, Asked(len(prompt), event.params, event.sample, event.priority))
        elif isinstance(event, ev.Forked):
            tokens = (*self._tokens[event.parent][: event.at_position], *event.appended)
            asked = Asked(event.prompt_tokens, event.params, event.sample, event.priority, event.intervened)
            self.add(event.request, tokens, asked)

    def add(self, request: str, tokens: Sequence[int], asked: Asked) -> None:
        """Know `tokens` as those of `request` so far."""
        self._tokens[request] = array("i", tokens)
        self._asked[request] = asked

    def __contains__(self, request: str) -> bool:
        return request in self._tokens

    def tokens_of(self, request: str) -> Sequence[int]:
        return self._tokens[request]

    def asked(self, request: str) -> Asked:
        return self._asked[request]

    def prompt_tokens_of(self, request: str) -> int:
        return self._asked[request].prompt_tokens

    def intervened_of(self, request: str) -> Intervened | None:
        """The stages that are scaled for `request`."""
        return self._asked[request].intervened
