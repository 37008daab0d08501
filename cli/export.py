"""`export`: a session in a format that other tools read. No torch."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cli.console import print_json, say
from cli.output import check_output
from cli.session_names import resolve_session
from cli.sizes import show_size
from sessions.reader import Session


class Exported(msgspec.Struct, frozen=True):
    """A file that was written."""

    session: str
    format: str
    output: str
    size_bytes: int


def export_session(name: str, to: str, output: Path, force: bool, json: bool) -> None:
    """Write the session in format `to`, and say where it is."""
    session = resolve_session(name)
    Session.open(session).close()  # what is no session is refused before anything is written
    check_output(output, force)
    from sessions.export import export_session as write

    write(session, to, output, force=force)
    exported = Exported(str(session), to, str(output), output.stat().st_size)
    if json:
        print_json(exported)
    else:
        say(f"wrote {output}, {show_size(exported.size_bytes)}")
