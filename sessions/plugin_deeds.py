"""What the plugins of a run did, counted from its events. All branches count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from engine.events import PluginDisabled
from sessions.event_log import event_row
from sessions.tables import Tables

if TYPE_CHECKING:
    from sessions.reader import Session

SCAN_EVENTS: Final = 100_000
SAID_BY: Final[Mapping[str, str]] = {
    "logits_changed": "plugin", "plugin_disabled": "plugin", "drafted": "method", "dropped": "policy",
}  # fmt: skip
"""Events of plugins, and the field that names the plugin."""


class PluginQueries(Tables):
    """Questions about plugins. They look at each event from `first` to `last`: ask for a part at a time."""

    def deeds(self, first: int, last: int) -> list[tuple[str, str, int]]:
        """Plugin, type of event, and how many events there are."""
        return [
            (name, kind, count)
            for kind, by in SAID_BY.items()
            for name, count in self._rows(
                f"SELECT json_extract(data, '$.{by}') AS name, count(*) FROM events"
                " WHERE seq BETWEEN ? AND ? AND type = ? GROUP BY name",
                first, last, kind,
            )
        ]  # fmt: skip

    def disablings(self, first: int, last: int) -> list[PluginDisabled]:
        """Why plugins are not asked any more."""
        rows = self._rows(
            "SELECT seq, data FROM events WHERE seq BETWEEN ? AND ? AND type = 'plugin_disabled' ORDER BY seq",
            first, last,
        )  # fmt: skip
        found = (event_row(seq, line).event for seq, line in rows)
        return [event for event in found if isinstance(event, PluginDisabled)]


@dataclass(slots=True)
class Deeds:
    """How many events of each type name each plugin, and why those that are disabled are."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    disabled: dict[str, PluginDisabled] = field(default_factory=dict)
    scanned: int = 0  # number of the last event that was looked at

    def scan(self, session: Session) -> bool:
        """Look at up to `SCAN_EVENTS` events more; whether all that were recorded have been looked at."""
        first, last = self.scanned + 1, min(session.last_seq, self.scanned + SCAN_EVENTS)
        for name, kind, count in session.deeds(first, last):
            self.counts[name, kind] += count
        for event in session.disablings(first, last):
            self.disabled.setdefault(event.plugin, event)
        self.scanned = last
        return last == session.last_seq

    def of(self, plugin: str) -> dict[str, int]:
        """How often each type of event named a plugin."""
        return {kind: count for (name, kind), count in sorted(self.counts.items()) if name == plugin}


__all__ = ["SAID_BY", "Deeds", "PluginQueries"]
