"""Exporting a session, from the command line or the screen: every format there is, and writing one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.plugs import NoOptions
from sessions.errors import SessionError
from sessions.export.formats import FORMATS as SESSION_FORMATS
from sessions.export.formats import Format
from sessions.export.options import ExportOptions

if TYPE_CHECKING:
    from engine.plugs_files import Exporter

ASCIICAST: Final = Format(
    "asciicast", ".cast", "a terminal recording of these screens", "workbench.asciicast",
    frozenset({"branch", "redact", "steps", "size", "views", "fps"}),
)  # fmt: skip
FORMATS: Final[dict[str, Format]] = SESSION_FORMATS | {ASCIICAST.name: ASCIICAST}


class Exporters:
    """The plugin that brings the project's own formats."""

    name = "exporters"
    version = "1"
    description = "The formats of `workbench export`."
    options = NoOptions

    def provide(self, _options: NoOptions) -> Sequence[Format]:
        return tuple(FORMATS.values())


def add_format(plugin: str, exporter: Exporter) -> None:
    """Make a plugin's format one of those there are, in this process."""
    from sessions.export.plugged import PluggedFormat

    FORMATS[exporter.name] = PluggedFormat(plugin, exporter)


class ExportError(RuntimeError):
    """An export that was not made: what is wrong and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class ExportJob:
    """Write `session` to `target`; `force` replaces a file that is there."""

    session: Path
    format: str
    target: Path
    options: ExportOptions = field(default_factory=ExportOptions)
    force: bool = False


def default_target(session: Path, wanted: str) -> Path:
    """Where an export goes unless said otherwise: the folder the workbench was started in."""
    return Path(session.stem + FORMATS[wanted].suffix)


def run_export(job: ExportJob) -> str:
    """Write the file; what to say when it is done. Raises ExportError. Any thread."""
    from sessions.export import export_session  # not needed before

    try:
        left_out = export_session(job.session, FORMATS[job.format], job.target, job.options, force=job.force)
    except (OSError, SessionError) as error:
        raise ExportError(f"{job.target} was not written: {error}") from error
    without = f"; left out: {'; '.join(left_out)}" if left_out else ""
    return f"exported to {job.target} ({size_bytes(job.target):,} bytes){without}"


def size_bytes(path: Path) -> int:
    """The bytes of a file, or of the files in a folder."""
    return sum(each.stat().st_size for each in path.iterdir()) if path.is_dir() else path.stat().st_size


__all__ = [
    "FORMATS",
    "ExportError",
    "ExportJob",
    "ExportOptions",
    "Exporters",
    "Format",
    "add_format",
    "default_target",
    "run_export",
    "size_bytes",
]  # fmt: skip
