"""Exporting the session on the screen: what can be asked for, and doing it without a screen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sessions.errors import SessionError

Format = Literal["jsonl", "perfetto", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[Format, str] = {"jsonl": ".jsonl", "perfetto": ".perfetto.json", "csv": ".csv.zip"}
MEANINGS: dict[Format, str] = {
    "jsonl": "every event, one JSON object a line",
    "perfetto": "a trace for ui.perfetto.dev: steps, requests, counters",
    "csv": "a .zip of every table, for spreadsheets",
}


class ExportError(RuntimeError):
    """An export that was not made: what is wrong and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class ExportJob:
    """Write `session` to `target`; `force` replaces a file that is there."""

    session: Path
    format: Format
    target: Path
    force: bool = False


def default_target(session: Path, wanted: Format) -> Path:
    """Where an export goes unless said otherwise: the folder the workbench was started in."""
    return Path(session.stem + SUFFIXES[wanted])


def run_export(job: ExportJob) -> str:
    """Write the file; what to say when it is done. Raises ExportError. Any thread."""
    from sessions.export import export_session  # not needed before

    try:
        export_session(job.session, job.format, job.target, force=job.force)
    except (OSError, SessionError) as error:
        raise ExportError(f"{job.target} was not written: {error}") from error
    return f"exported to {job.target} ({job.target.stat().st_size:,} bytes)"


__all__ = ["FORMATS", "MEANINGS", "ExportError", "ExportJob", "Format", "default_target", "run_export"]
