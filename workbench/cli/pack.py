"""`sessions pack` and `sessions import`: a session as one file that travels. No torch."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sessions.pack import pack_session
from sessions.pack_format import PackedFile
from sessions.pack_import import import_pack
from sessions.places import sessions_folder
from workbench.cli.console import print_json, say
from workbench.cli.output import check_keeps, check_output
from workbench.cli.progress import progress_bar
from workbench.cli.session_names import resolve_session
from workbench.cli.sizes import show_size


class PackResult(msgspec.Struct, frozen=True):
    """A pack that was written; `weights_sha256` is of the weights that a replay needs beside it."""

    session: str
    output: str
    size_bytes: int
    weights_sha256: str
    files: tuple[PackedFile, ...]
    left_out: tuple[str, ...]


class ImportResult(msgspec.Struct, frozen=True):
    """A session that was taken from a pack; `model_files` is the folder of its model's small files."""

    name: str
    session: str
    model_name: str
    weights_sha256: str
    model_files: str | None
    files: tuple[PackedFile, ...]


def pack(name: str, output: Path, model: Path | None, force: bool, json: bool) -> None:
    """Write the pack, and say what is in it and what is not."""
    session = resolve_session(name)
    check_keeps(output, [session])
    check_output(output, force)
    with progress_bar("packing", "bytes") as progress:
        packed = pack_session(session, output, model, progress)
    for left_out in packed.left_out:
        say(f"left out: {left_out}")
    size, manifest = output.stat().st_size, packed.manifest
    if json:
        print_json(
            PackResult(
                str(session), str(output), size, manifest.weights_sha256, manifest.files, tuple(packed.left_out)
            )
        )
    else:
        say(f"wrote {output}, {show_size(size)}: {', '.join(file.name for file in manifest.files)}; no weights")


def take(pack_file: Path, name: str | None, force: bool, json: bool) -> None:
    """Put the session of a pack among the user's, and say where it is."""
    with progress_bar("importing", "bytes") as progress:
        taken = import_pack(pack_file, sessions_folder(), name, force=force, progress=progress)
    manifest, model_files = taken.manifest, taken.model_files
    if json:
        print_json(
            ImportResult(
                taken.session.stem, str(taken.session), manifest.model_name, manifest.weights_sha256,
                None if model_files is None else str(model_files), manifest.files,
            )
        )  # fmt: skip
        return
    say(f"imported {taken.session.stem}: `workbench open {taken.session.stem}` shows it")
    if model_files is not None:
        say(f"the files of its model {manifest.model_name}, without weights, are in {model_files}")
