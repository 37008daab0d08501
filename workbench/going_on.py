"""Going on from a recording: in a copy of it, which grows; the recording itself is only read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.params import EngineOptions
from engine.protocol import Resume
from sessions.places import SUFFIX, place_for, sessions_folder
from workbench.clock import Cursor
from workbench.record import Record
from workbench.source import Live


def copy_name(recording: Path, step: int, folder: Path | None = None) -> Path:
    """A new file in the user's folder of sessions: `NAME-from-step-31.wbs`, numbered when taken."""
    folder = folder or sessions_folder()
    stem = f"{recording.stem}-from-step-{step}"
    path, number = folder / f"{stem}{SUFFIX}", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}{SUFFIX}", number + 1
    return place_for(path).path


def launch(record: Record, cursor: Cursor, target: Path, command: Sequence[str], model: Path) -> Live:
    """What to start: the recorded model with the recorded options, on a copy of the recording."""
    about = record.about
    options: EngineOptions = msgspec.structs.replace(about.options, kv_blocks=about.num_blocks)
    resume = Resume(str(record.path), cursor.branch, cursor.step)
    return Live(command, model, target, options, resume=resume)


__all__ = ["copy_name", "launch"]
