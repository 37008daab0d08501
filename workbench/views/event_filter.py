"""A filter for events as a person types it: event types, `request=3`, `step=10-20`, and text."""

from __future__ import annotations

import difflib
from typing import get_args

from engine.events import AnyEvent
from sessions.event_log import EventFilter

EVENT_TYPES: tuple[str, ...] = tuple(str(kind.__struct_config__.tag) for kind in get_args(AnyEvent))


class FilterError(ValueError):
    """A filter that cannot be understood: the word, and what is allowed."""


def parse_filter(text: str) -> EventFilter:
    """The filter in `text`: types let one of them through, everything else must hold. Raises FilterError."""
    types: set[str] = set()
    request: str | None = None
    steps: tuple[int, int] | None = None
    words: list[str] = []
    for word in text.split():
        name, _, value = word.partition("=")
        if name in ("request", "req") and value:
            request = value
        elif name in ("step", "steps") and value:
            steps = _steps(value)
        elif word in EVENT_TYPES:
            types.add(word)
        elif value and "=" in word:
            raise FilterError(_unknown(name))
        else:
            words.append(word)
    return EventFilter(frozenset(types), request, " ".join(words), steps)


def written(wanted: EventFilter) -> str:
    """A filter as it would be typed."""
    parts = sorted(wanted.types)
    if wanted.request is not None:
        parts.append(f"request={wanted.request}")
    if wanted.steps is not None:
        parts.append("step=" + "-".join(map(str, dict.fromkeys(wanted.steps))))
    return " ".join([*parts, *([wanted.text] if wanted.text else [])])


def _steps(value: str) -> tuple[int, int]:
    first, _, last = value.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise FilterError(f"step={value}: write step=12 or step=10-20")
    return int(first), int(last or first)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, ("request", "step"), 1)
    hint = f"did you mean {near[0]}=?" if near else "there are request= and step="
    return f"nothing is called {name}=: {hint}"


__all__ = ["EVENT_TYPES", "FilterError", "parse_filter", "written"]
