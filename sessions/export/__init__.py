"""A session in formats that other tools read."""

from __future__ import annotations

from pathlib import Path

from sessions.errors import SessionError
from sessions.export.csv import write_csv
from sessions.export.jsonl import write_jsonl
from sessions.export.output import Progress, Write, no_progress, open_output
from sessions.export.perfetto import write_perfetto
from sessions.reader import Session

__all__ = ["FORMATS", "Progress", "export_session"]

FORMATS: dict[str, Write] = {"jsonl": write_jsonl, "perfetto": write_perfetto, "csv": write_csv}


def export_session(
    session: Path, to: str, output: Path, *, force: bool = False, progress: Progress = no_progress
) -> None:
    """Write the session file `session` as `to`, one of FORMATS, to `output` (`-` is stdout).

    The file appears whole, or not at all; one that exists is replaced only if `force`. `progress` is
    called with how much is done and how much there is. Raises SessionError and OSError.
    """
    write = FORMATS.get(to)
    if write is None:
        raise SessionError(f"there is no format {to}: use {', '.join(sorted(FORMATS))}")
    if to == "csv" and output.suffix != ".zip":
        raise SessionError(f"{output}: csv is a .zip of one file a table: give a name that ends in .zip")
    with Session.open(session) as opened, open_output(output, force) as stream:
        write(opened, stream, progress)
