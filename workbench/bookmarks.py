"""Bookmarks: named moments of a session, kept in the user's folder. The session itself is never written to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import platformdirs

from sessions.header import Header


class Bookmark(msgspec.Struct, frozen=True):
    """A name for a moment, and what was selected there."""

    name: str
    branch: int
    step: int
    request: str | None = None
    position: int | None = None


class BookmarkError(ValueError):
    """A name that cannot be used, or a file that cannot be written: one line."""


class Bookmarks:
    """Those of one session, by name, in the order of time. Every change is written at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._marks: dict[str, Bookmark] = {mark.name: mark for mark in _read(path)}

    @classmethod
    def of(cls, session: Path, header: Header) -> Bookmarks:
        """The bookmarks of the session at `session`; a folder that was moved keeps them."""
        folder = platformdirs.user_state_path("workbench", appauthor=False) / "bookmarks"
        return cls(folder / f"{session_key(session, header)}.json")

    def __iter__(self) -> Iterator[Bookmark]:
        return iter(sorted(self._marks.values(), key=lambda mark: (mark.branch, mark.step, mark.name)))

    def __len__(self) -> int:
        return len(self._marks)

    def find(self, name: str) -> Bookmark | None:
        return self._marks.get(name)

    def steps(self, branch: int) -> set[int]:
        """The steps of `branch` that have one."""
        return {mark.step for mark in self._marks.values() if mark.branch == branch}

    def put(self, mark: Bookmark) -> None:
        """Keep a bookmark; one of the same name is moved. Raises BookmarkError."""
        if not mark.name or mark.name.lstrip("-").isdecimal() or mark.name in ("start", "end"):
            raise BookmarkError(f"{mark.name!r} is no name for a bookmark: goto takes it for a step")
        self._write({**self._marks, mark.name: mark})

    def remove(self, name: str) -> None:
        """Forget a bookmark. Raises BookmarkError where there is none of that name."""
        if name not in self._marks:
            raise BookmarkError(f"there is no bookmark {name!r}")
        self._write({key: mark for key, mark in self._marks.items() if key != name})

    def new_name(self) -> str:
        """A name that is not taken: `m1`, `m2` …"""
        return next(name for number in range(1, len(self) + 2) if (name := f"m{number}") not in self._marks)

    def _write(self, marks: dict[str, Bookmark]) -> None:
        """Keep `marks`; a reader of the file sees all of them or those before."""
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(list(marks.values()))))
            beside.replace(self.path)
        except OSError as error:
            raise BookmarkError(f"{self.path} cannot be written: {error}") from error
        self._marks = marks


def session_key(session: Path, header: Header) -> str:
    """What tells a session from others, as far as its name and its header do."""
    said = (session.name, header.created, header.weights_sha256, header.num_blocks)
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:24]


def _read(path: Path) -> list[Bookmark]:
    """The bookmarks in a file; none where there is no such file, or it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Bookmark])
    except (OSError, msgspec.MsgspecError):
        return []


__all__ = ["Bookmark", "BookmarkError", "Bookmarks", "session_key"]
