"""Keys that are pressed faster than a dialog opens: they belong into it."""

from __future__ import annotations

from collections import deque

from textual import events
from textual.screen import Screen
from textual.widget import Widget

MOST_HEARD = 64  # keys on their way from a dialog to the app


class TakesText:
    """A dialog that is opened to type into: a base beside `Screen`."""

    def on_key(self, event: events.Key) -> None:
        self.app.typing_ahead.heard.append(event)  # type: ignore[attr-defined]

    def watch_focused(self, focused: Widget | None) -> None:
        """Somebody here has the focus: what was typed before is for them."""
        if focused is not None:
            focused.app.call_later(focused.app.type_held)  # type: ignore[attr-defined]


class TypingAhead:
    """Holds keys until the dialog they are meant for has something that takes them."""

    def __init__(self) -> None:
        self.heard: deque[events.Key] = deque(maxlen=MOST_HEARD)
        """Keys that went through a dialog, and are nobody else's."""
        self._held: deque[tuple[Screen[object], events.Key]] = deque()

    def holds(self, event: events.Key, screen: Screen[object]) -> bool:
        """Whether `event`, which is sent to nobody yet, waits for somebody on `screen` to have the focus."""
        if not isinstance(screen, TakesText) or screen.focused is not None:
            return False
        self._held.append((screen, event))
        return True

    def takes_back(self, event: events.Key, screen: Screen[object]) -> bool:
        """Whether `event`, sent elsewhere before `screen` opened and taken by nobody, is held for `screen`."""
        if not isinstance(screen, TakesText) or any(event is each for each in self.heard):
            return False
        self._held.append((screen, events.Key(event.key, event.character).set_sender(screen.app)))
        return True

    def released(self, screen: Screen[object]) -> list[events.Key]:
        """The keys that whoever has the focus on `screen` takes now."""
        if screen.focused is None:
            return []
        held = [event for meant, event in self._held if meant is screen]
        self._held.clear()
        return held


__all__ = ["TakesText", "TypingAhead"]
