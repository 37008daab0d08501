"""Stop strings: found wherever token borders fall, and where the text ends because of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.text.stream import TextStream
from engine.text.tokenizer import Tokenizer

__all__ = ["OutputText", "StopMatch", "StopMatcher"]


@dataclass(frozen=True, slots=True)
class StopMatch:
    """A stop string that was found; the output is the first `length` characters, without it."""

    stop: str
    length: int


class StopMatcher:
    """Looks for stop strings in a text that grows.

    Reading character by character, the first one to be complete counts, and of several that end together
    the longest. So the answer does not depend on how the text was cut into tokens.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = sorted(stops, key=len, reverse=True)
        self._reach = len(self._stops[0]) - 1 if self._stops else 0
        self._tail = ""
        self._seen = 0

    def push(self, text: str) -> StopMatch | None:
        """Take in more text; the stop string that is now complete, if any."""
        start = self._seen - len(self._tail)
        window = self._tail + text
        self._seen += len(text)
        self._tail = window[-self._reach :] if self._reach else ""
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := window.find(stop)) >= 0]
        if not found:
            return None
        _, at, stop = min(found)
        return StopMatch(stop, start + at)


class OutputText:
    """The text of one output as its tokens come, up to a stop string."""

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int], stops: Sequence[str] = ()) -> None:
        self._stream = TextStream(tokenizer, prompt_ids)
        self._matcher = StopMatcher(stops)
        self._parts: list[str] = []

    def push(self, token: int) -> str | None:
        """Take in the next output token; the stop string that is now complete, if any."""
        more = self._stream.append(token)
        self._parts.append(more)
        match = self._matcher.push(more)
        if match is None:
            return None
        self._parts = [self.text[: match.length]]
        return match.stop

    @property
    def text(self) -> str:
        """The text so far, in whole characters, without the stop string."""
        return "".join(self._parts)
