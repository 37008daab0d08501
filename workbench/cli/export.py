"""`export`: a session in a format that other tools read. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from sessions.export import export_session as write
from sessions.export.options import ExportOptions
from sessions.export.output import STDOUT
from workbench.cli.console import print_json, say
from workbench.cli.errors import CommandError
from workbench.cli.export_flags import ExportFlags
from workbench.cli.output import check_output
from workbench.cli.plugging import plugged_in
from workbench.cli.progress import progress_bar
from workbench.cli.session_names import resolve_session
from workbench.cli.sizes import show_size
from workbench.exporting import FORMATS, add_format, size_bytes


class Exported(msgspec.Struct, frozen=True):
    """What was written, and what of the session is not in it."""

    session: str
    format: str
    output: str
    size_bytes: int
    left_out: tuple[str, ...]


def export_session(
    name: str, to: str, output: Path, force: bool, json: bool, flags: ExportFlags, plugins: Sequence[str] = ()
) -> None:
    """Write the session in format `to`, and say where it is and what was left out."""
    for plugin, exporter in plugged_in(plugins)[0].of_kind("exporter"):
        add_format(plugin, exporter)
    if to not in FORMATS:
        raise CommandError(f"--to is {to}: use one of {', '.join(FORMATS)}, or a plugin's with --plugin")
    session, wanted, options = resolve_session(name), FORMATS[to], ExportOptions(**asdict(flags))
    if output == STDOUT and json:
        raise CommandError("--json and --output - both write to standard output: leave one out")
    wanted.check(options, output)
    if output != STDOUT and wanted.shape == "file":
        check_output(output, force)
    with progress_bar("exporting", "parts") as progress:
        left_out = write(session, wanted, output, options, force=force, progress=progress)
    if not json:
        for line in left_out:
            say(f"left out: {line}")
    if output != STDOUT:
        _tell(Exported(str(session), to, str(output), size_bytes(output), left_out), json)


def _tell(exported: Exported, json: bool) -> None:
    if json:
        print_json(exported)
    else:
        say(f"wrote {exported.output}, {show_size(exported.size_bytes)}")
