"""`sessions import FILE --from NAME`: a session made of what a plugin reads. No torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from engine import events as ev
from engine.plug_guard import PluginFailedError, call_hook, one_line
from engine.plugs_files import Imported, Importer
from sessions.errors import RecorderError
from sessions.header import Header
from sessions.places import SUFFIX, sessions_folder, side_files
from sessions.recorder import Recorder
from workbench.cli import VERSION
from workbench.cli.console import print_json, say
from workbench.cli.errors import CommandError
from workbench.cli.output import check_output
from workbench.cli.plugging import plugged_in


class ImportedSession(msgspec.Struct, frozen=True):
    """A session that was made of somebody else's file."""

    name: str
    session: str
    events: int


def import_with(file: Path, wanted: str, asked: Sequence[str], name: str | None, force: bool, json: bool) -> None:
    """Let the importer called `wanted` read `file`, write what it says as a session, and say where that is."""
    plugin, importer = _importer(wanted, asked)
    if not file.is_file():
        raise CommandError(f"{file}: there is no such file")
    target = sessions_folder() / f"{name or file.stem}{SUFFIX}"
    target.parent.mkdir(parents=True, exist_ok=True)
    check_output(target, force)
    try:
        imported = call_hook(plugin, "read_import", lambda: _read(importer, file), deadline_s=None)
        count = _write(imported, target, plugin, force)
    except PluginFailedError as failure:
        raise CommandError(f"{file}: {failure}; no session was made") from failure
    if json:
        print_json(ImportedSession(target.stem, str(target), count))
    else:
        say(f"imported {target.stem}, {count:,} events: `workbench open {target.stem}` shows it")


def _importer(wanted: str, asked: Sequence[str]) -> tuple[str, Importer]:
    plugged = plugged_in(asked)[0]
    found: dict[str, tuple[str, Importer]] = {
        thing.name: (plugin, thing) for plugin, thing in plugged.of_kind("importer")
    }
    if wanted not in found:
        have = f"the plugins here have {', '.join(found)}" if found else "name its plugin with --plugin"
        raise CommandError(f"--from is {wanted}: there is no such importer: {have}")
    return found[wanted]


def _read(importer: Importer, file: Path) -> Imported:
    imported = importer.read_import(file)
    if not isinstance(imported, Imported):
        raise TypeError(f"read_import returned {type(imported).__name__}, not Imported")
    return imported


def _write(imported: Imported, target: Path, plugin: str, force: bool) -> int:
    """Write the session; how many events it has. What fails leaves none behind."""
    try:
        header = msgspec.convert(_fields(imported), Header)
    except (msgspec.ValidationError, ValueError) as error:
        raise PluginFailedError(plugin, "read_import", "broke_contract", f"gave a header: {error}") from error
    recorder = Recorder(target, header, imported.tokenizer_json, force=force)
    count = 0
    try:
        for events in _steps(imported):
            count += len(events)
            _say(recorder, events)
        recorder.flush()
        recorder.close()
    except BaseException as error:
        _give_up(recorder, target)
        if isinstance(error, Exception):
            why = f"gave events that cannot be recorded: {one_line(error)}"
            raise PluginFailedError(plugin, "read_import", "broke_contract", why) from error
        raise
    return count


def _give_up(recorder: Recorder, target: Path) -> None:
    with contextlib.suppress(RecorderError):  # what it wrote is deleted
        recorder.close()
    for file in (target, *side_files(target)):
        file.unlink(missing_ok=True)


def _say(recorder: Recorder, events: Sequence[ev.Event]) -> None:
    if isinstance(events[-1], ev.StepCommitted | ev.StepFailed):
        recorder.commit(events, None)
    else:
        recorder.record(events)


def _steps(imported: Imported) -> Iterator[list[ev.Event]]:
    """Events up to the end of a step, together; a branch begins with an event of its own."""
    some: list[ev.Event] = []
    for event in imported.events:
        if isinstance(event, ev.Branched) and some:
            yield some
            some = []
        some.append(event)
        if isinstance(event, ev.StepCommitted | ev.StepFailed | ev.Branched):
            yield some
            some = []
    if some:
        yield some


def _fields(imported: Imported) -> dict[str, Any]:
    """The header: what is not said of the run is `unknown`, sizes of its model 0."""
    unknown = dict.fromkeys(
        ("python_version", "torch_version", "transformers_version", "model_path", "model_name", "config_sha256",
         "weights_sha256", "tokenizer_hash", "dtype", "device"), "unknown",
    )  # fmt: skip
    sizes = ("layers", "heads", "kv_heads", "head_dim", "vocab_size", "max_context", "kv_bytes_per_token")
    shape = dict.fromkeys(sizes, 0) | {"linear_kernel": "unknown"}
    given = dict(imported.header)
    made = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "tool_version": VERSION, "options": {}}
    return unknown | made | {"shape": shape} | given
