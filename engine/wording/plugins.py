"""Sentences about plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine import events as ev
from engine.wording.parts import TokenText, plural


def _logits_changed(event: ev.LogitsChanged, _text: TokenText) -> str:
    change = event.change
    parts = [f"changes {plural(len(change.ids), 'logit')}"] if change.ids else []
    if change.only is not None:
        parts.append(f"allows {plural(len(set(change.only) | set(change.ids)), 'token')} only")
    elif change.removed:
        parts.append(f"removes {plural(len(change.removed), 'token')}")
    before = f"before the token at position {event.position} of request {event.request} is chosen"
    return f"plugin {event.plugin} {' and '.join(parts)} {before}"


def _plugin_disabled(event: ev.PluginDisabled, _text: TokenText) -> str:
    where = "" if event.request is None else f" at position {event.position} of request {event.request}"
    others = [f"{what} {name}" for what, name in (("policy", event.policy), ("eviction", event.eviction)) if name]
    instead = f"; from here on {' and '.join(others)}" if others else ""
    what = f"{event.hook} {event.message}{where}"
    return f"plugin {event.plugin} is disabled for the rest of the run: {what}{instead}"


SENTENCES: Final[Mapping[type[ev.Event], Callable[[Any, TokenText], str]]] = {
    ev.LogitsChanged: _logits_changed,
    ev.PluginDisabled: _plugin_disabled,
}
