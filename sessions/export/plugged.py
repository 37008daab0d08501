"""A plugin's format: what it sees of a session, and how its failing is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from engine import events as ev
from engine.plug_guard import PluginFailedError, call_hook
from engine.state import State
from sessions.errors import SessionError
from sessions.export.excerpt import Excerpt
from sessions.export.formats import Format
from sessions.export.output import Progress

if TYPE_CHECKING:
    from engine.plugs_files import Exporter

OPTIONS: Final = frozenset({"branch", "redact", "steps"})


class ExcerptRecording:
    """An excerpt as `engine.plugs_files.Recording`."""

    def __init__(self, excerpt: Excerpt) -> None:
        self._excerpt = excerpt

    @property
    def first_step(self) -> int:
        return self._excerpt.first_step

    @property
    def last_step(self) -> int:
        return self._excerpt.last_step

    @property
    def header(self) -> Mapping[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self._excerpt.session.header)
        return fields

    def events(self) -> Iterator[ev.AnyEvent]:
        """The events of the steps asked for, in order."""
        wanted = self._excerpt.rows_of("events", "step", "request")
        for (line,) in self._excerpt.select(f"SELECT data {wanted} ORDER BY seq"):
            yield ev.decode(line)

    def state_at(self, step: int) -> State:
        """The bookkeeping after `step`."""
        return self._excerpt.state_at(step)


class PluggedFormat(Format):
    """The format that `exporter` of `plugin` writes."""

    def __init__(self, plugin: str, exporter: Exporter) -> None:
        super().__init__(exporter.name, exporter.suffix, exporter.meaning, "", OPTIONS)
        object.__setattr__(self, "plugin", plugin)
        object.__setattr__(self, "exporter", exporter)

    plugin: str
    exporter: Exporter

    def write_export(self, excerpt: Excerpt, stream: BinaryIO, progress: Progress) -> None:
        recording = ExcerptRecording(excerpt)
        try:
            call_hook(
                self.plugin, "write_export",
                lambda: self.exporter.write_export(recording, stream, progress), deadline_s=None,
            )  # fmt: skip
        except PluginFailedError as failure:
            raise SessionError(f"{failure}: nothing was written") from failure


__all__ = ["ExcerptRecording", "PluggedFormat"]
