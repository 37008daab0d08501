"""Where sessions are kept, what they are called, and why not on a network file system."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import platformdirs

SUFFIX = ".wbs"
SIDE_FILES = ("-wal", "-shm", "-journal")
NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "virtiofs"}
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session goes, and a line for the user when that is not where it was wanted."""

    path: Path
    warning: str | None = None


def sessions_folder() -> Path:
    """The user's folder of sessions; it may not exist yet."""
    return platformdirs.user_state_path("workbench", appauthor=False) / "sessions"


def default_path(model_name: str, now: datetime, folder: Path | None = None) -> Path:
    """A new name in `folder`, such as `2026-11-20T16-05-12-tiny-python.wbs`; numbered when taken."""
    folder = folder or sessions_folder()
    name = re.sub(r"[^\w.-]+", "-", model_name).strip("-.") or "model"
    stem = f"{now:%Y-%m-%dT%H-%M-%S}-{name}"
    path, number = folder / f"{stem}{SUFFIX}", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}{SUFFIX}", number + 1
    return path


def place_for(path: Path) -> Place:
    """`path`, or a local file of the same name where `path` is on a network file system.

    SQLite's write-ahead log needs memory shared between processes, which those do not have.
    """
    kind = file_system(path)
    if kind not in NETWORK_TYPES:
        return Place(path)
    local = Path(tempfile.mkdtemp(prefix="workbench-")) / path.name
    return Place(local, f"{path.parent} is a network file system ({kind}): the session is recorded to {local}")


def file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """The type of the file system that holds `path`, None where the machine does not tell."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return None
    absolute = Path(os.path.realpath(path))
    found: tuple[str, str | None] = ("", None)
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), point)
        if len(point) >= len(found[0]) and absolute.is_relative_to(point):
            found = (point, kind)
    return found[1]


def side_files(path: Path) -> list[Path]:
    """The files SQLite may keep beside `path`."""
    return [path.with_name(path.name + suffix) for suffix in SIDE_FILES]


def model_files_of(path: Path) -> Path:
    """The folder with the small files of its model that an imported session may have beside it."""
    return path.with_suffix(".model")
