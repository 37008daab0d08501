"""Which session file a name stands for."""

from __future__ import annotations

from pathlib import Path

from sessions.places import SUFFIX, sessions_folder
from workbench.cli.errors import CommandError


def resolve_session(name: str) -> Path:
    """The file `name`, or the session of that name in the user's folder."""
    if not name:
        raise CommandError("the session's name is empty: give a session file, or a name that `sessions ls` lists")
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise CommandError(f"{name}: is a folder: give a session file")
    kept = sessions_folder() / path.name
    if path.parent == Path() and (found := _existing(kept)):
        return found
    raise CommandError(f"{name}: no such session: `workbench sessions ls` lists those in {sessions_folder()}")


def _existing(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(path.name + SUFFIX)) if file.is_file()), None)
