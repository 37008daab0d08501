"""From a command's arguments to the `Open` that an engine takes. No torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from cli.errors import CommandError
from cli.folders import is_bundled
from cli.machine import cores
from cli.model_card import missing_tokenizer
from engine.model.checkpoint import Checkpoint, open_checkpoint
from engine.model.config import read_config
from engine.params import EngineOptions
from engine.protocol import Open, RequestText
from sessions.places import Place, default_path, place_for

SMALL_MODEL_BYTES = 32 << 20


def make_order(
    folder: Path,
    options: EngineOptions,
    requests: Sequence[RequestText] = (),
    output: Path | None = None,
    *,
    force: bool = False,
    spare_cores: int = 0,
) -> tuple[Open, str | None]:
    """The order to run `requests`, and a line to tell the user about where the session goes, if any.

    What can be seen without torch is checked here: the folder's config, its weights' headers, and that
    nothing is overwritten.
    """
    checkpoint = open_checkpoint(folder)
    checkpoint.check(read_config(folder))
    if (missing := missing_tokenizer(folder)) is not None:
        raise CommandError(missing)
    place = _session_place(folder, output, force)
    order = Open(
        model=str(folder),
        session=str(place.path),
        options=_settled(options, checkpoint, spare_cores),
        workload=tuple(requests),
        force=force,
    )
    return order, place.warning


def _session_place(folder: Path, output: Path | None, force: bool) -> Place:
    if output is None:
        return place_for(default_path(folder.resolve().name, datetime.now()))
    check_output(output, force)
    return place_for(output)


def check_output(output: Path, force: bool) -> None:
    """Raise CommandError when `output` cannot be made, or is there and may not be replaced."""
    if output.is_dir():
        raise CommandError(f"{output}: is a folder: give the name of a file")
    if output.exists() and not force:
        raise CommandError(f"{output} exists: choose another name, or overwrite it with --force")
    if not output.parent.is_dir():
        raise CommandError(f"{output}: there is no folder {output.parent}: make it first")
    if not os.access(output.parent, os.W_OK) or (output.exists() and not os.access(output, os.W_OK)):
        raise CommandError(f"{output} cannot be written: you have no permission; choose another place")


def _settled(options: EngineOptions, checkpoint: Checkpoint, spare_cores: int) -> EngineOptions:
    """`options` with what depends on the model and the machine decided, so that the session says it."""
    dtype = "float32" if options.dtype == "auto" and is_bundled(checkpoint.folder) else options.dtype
    threads = options.threads or _threads(checkpoint, spare_cores)
    return msgspec.structs.replace(options, dtype=dtype, threads=threads)


def _threads(checkpoint: Checkpoint, spare_cores: int) -> int:
    """A core a thread, but one thread for a small model: its matrices are not worth sharing out."""
    if sum(path.stat().st_size for path in checkpoint.files) < SMALL_MODEL_BYTES:
        return 1
    return max(1, cores() - spare_cores)
