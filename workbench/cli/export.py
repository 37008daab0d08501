"""`export`: a session in a format that other tools read. No torch."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sessions.export import export_session as write
from sessions.export.output import STDOUT
from workbench.cli.console import print_json, say
from workbench.cli.errors import CommandError
from workbench.cli.output import check_output
from workbench.cli.progress import progress_bar
from workbench.cli.session_names import resolve_session
from workbench.cli.sizes import show_size


class Exported(msgspec.Struct, frozen=True):
    """A file that was written."""

    session: str
    format: str
    output: str
    size_bytes: int


def export_session(name: str, to: str, output: Path, force: bool, json: bool) -> None:
    """Write the session in format `to`, and say where it is."""
    session = resolve_session(name)
    if output == STDOUT and json:
        raise CommandError("--json and --output - both write to standard output: leave one out")
    if output != STDOUT:
        check_output(output, force)
    with progress_bar("exporting", "events") as progress:
        write(session, to, output, force=force, progress=progress)
    if output != STDOUT:
        _tell(Exported(str(session), to, str(output), output.stat().st_size), json)


def _tell(exported: Exported, json: bool) -> None:
    if json:
        print_json(exported)
    else:
        say(f"wrote {exported.output}, {show_size(exported.size_bytes)}")
