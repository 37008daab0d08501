"""Opens the part of a session that is exported: as it is, or as a copy that nobody changes meanwhile."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sessions.errors import SessionError
from sessions.export.excerpt import Excerpt
from sessions.export.options import ExportOptions
from sessions.opening import open_read_only
from sessions.places import SUFFIX, side_files
from sessions.reader import Session
from sessions.redaction import REDACTED_NAME, redact


@contextmanager
def open_excerpt(path: Path, options: ExportOptions) -> Iterator[Excerpt]:
    """What `options` name of the session at `path`. Raises SessionError.

    A session that may still grow is copied first, so that all parts of an export are of one moment; one that
    is redacted is a copy whose text was taken out before anything else is done with it.
    """
    growing = is_growing(path)
    if not growing and not options.redact:
        with Session.open(path) as session:
            yield _excerpt(Excerpt(session, options, path.name, path), growing)
        return
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        name = f"{REDACTED_NAME}{SUFFIX}" if options.redact else path.name
        copy = Path(folder) / name
        _copy(path, copy)
        if options.redact:
            redact(copy)
        with Session.open(copy) as session:
            yield _excerpt(Excerpt(session, options, name, path), growing)


def is_growing(path: Path) -> bool:
    """Whether a session has a log beside it: somebody is writing it, or was cut off."""
    return any(file.exists() and file.stat().st_size > 0 for file in side_files(path))


def _excerpt(excerpt: Excerpt, growing: bool) -> Excerpt:
    """`excerpt`, with what it leaves out of the session."""
    if growing:
        last = excerpt.session.last_step(excerpt.branch)
        excerpt.leave_out(f"what came after step {last}: the session was still being recorded, or was cut off")
    if others := _other_history(excerpt):
        excerpt.leave_out(f"{others}: this is the history of branch {excerpt.branch}")
    return excerpt


def _other_history(excerpt: Excerpt) -> str:
    """The branches, and parts of branches, that are not on the way to this one, in words."""
    taken = {segment.branch: segment.last_step for segment in excerpt.lineage.segments}
    parts: list[str] = []
    for branch in sorted(each.branch for each in excerpt.session.branches):
        if branch not in taken:
            parts.append(f"branch {branch}")
        elif excerpt.session.last_step(branch) > taken[branch]:
            parts.append(f"branch {branch} after step {taken[branch]}")
    return ", ".join(parts)


def _copy(path: Path, copy: Path) -> None:
    source = open_read_only(path)
    try:
        with closing(sqlite3.connect(copy)) as target:
            source.connection.backup(target)
    except sqlite3.Error as error:
        raise SessionError(f"{path} cannot be copied: {error}") from error
    finally:
        source.close()
