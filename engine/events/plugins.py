"""Events of plugins: what one changed, and that one failed."""

from __future__ import annotations

from engine.changed_logits import Changed
from engine.events.base import Event
from engine.plug_guard import Why


class LogitsChanged(Event, frozen=True):
    """Plugin `plugin` changed the logits from which the token for `position` is chosen."""

    request: str
    position: int
    plugin: str
    change: Changed


class PluginDisabled(Event, frozen=True):
    """Plugin `plugin` is not asked any more: its `hook` failed (`why`, `message`), and the run goes on without.

    A logits processor failed at `position` of `request`. `policy` and `eviction` take the place of its own.
    """

    plugin: str
    hook: str
    why: Why
    message: str
    request: str | None = None
    position: int | None = None
    policy: str | None = None
    eviction: str | None = None
