"""A session in formats that other tools read."""

from __future__ import annotations

from pathlib import Path

from sessions.errors import SessionError
from sessions.export.formats import FORMATS, Format
from sessions.export.opening import open_excerpt
from sessions.export.options import ExportOptions
from sessions.export.output import Progress, no_progress, open_folder, open_output

__all__ = ["FORMATS", "ExportOptions", "Format", "Progress", "export_session"]


def export_session(
    session: Path,
    to: str | Format,
    output: Path,
    options: ExportOptions | None = None,
    *,
    force: bool = False,
    progress: Progress = no_progress,
) -> tuple[str, ...]:
    """Write the session file `session` as `to`, a Format or the name of one, to `output` (`-` is stdout).

    The file appears whole, or not at all; one that exists is replaced only if `force`. `progress` is
    called with how much is done and how much there is. Returns what was left out, a line each. Raises
    SessionError and OSError.
    """
    wanted = to if isinstance(to, Format) else _named(to)
    options = options or ExportOptions()
    wanted.check(options, output)
    if output.exists() and output.samefile(session):
        raise SessionError(f"{output}: is the session itself: choose another name for the export")
    with open_excerpt(session, options) as excerpt:
        if wanted.shape == "folder or zip" and output.suffix != ".zip":
            with open_folder(output, force, wanted.suffix) as folder:
                wanted.write_folder(excerpt, folder, progress)
        else:
            with open_output(output, force) as stream:
                wanted.write_export(excerpt, stream, progress)
        return tuple(excerpt.left_out)


def _named(to: str) -> Format:
    if to not in FORMATS:
        raise SessionError(f"there is no format {to}: use {', '.join(sorted(FORMATS))}")
    return FORMATS[to]
