"""Keys that are pressed faster than a dialog opens: they belong into it."""

from __future__ import annotations

from textual import events
from textual.screen import Screen
from textual.widget import Widget


class TakesText:
    """A dialog that is opened to type into: a base beside `Screen`."""

    heard: events.Key | None = None
    """The last key that came through the dialog, and was not on its way before it opened."""

    def on_key(self, event: events.Key) -> None:
        self.heard = event

    def watch_focused(self, focused: Widget | None) -> None:
        """Somebody here has the focus: what was typed before is for them."""
        if focused is not None:
            focused.app.typing_ahead.release(focused)  # type: ignore[attr-defined]


class TypingAhead:
    """Holds keys until the dialog they were meant for has something that takes them."""

    def __init__(self) -> None:
        self._held: list[tuple[Screen[object], events.Key]] = []

    def take(self, event: events.Key, screen: Screen[object]) -> bool:
        """Whether `event`, which nobody has taken, is for what can be typed into on `screen`, and was sent there.

        That are all keys before somebody there has the focus, and then those that had gone to somebody else.
        """
        if not isinstance(screen, TakesText):
            return False
        if screen.focused is None:
            self._held.append((screen, event))
            return True
        if event is screen.heard:
            return False
        _send(event, screen.focused)
        return True

    def release(self, focused: Widget) -> None:
        """Give `focused` what was typed."""
        held, self._held = self._held, []
        for screen, event in held:
            if screen is focused.screen:
                _send(event, focused)


def _send(event: events.Key, focused: Widget) -> None:
    """As if the key were pressed now; what `focused` was sent before comes first."""
    focused._forward_event(events.Key(event.key, event.character))


__all__ = ["TakesText", "TypingAhead"]
