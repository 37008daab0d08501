"""What is shown of a fork: its parent, its position and what it changed."""

from __future__ import annotations

from engine.wording.changes import fork_words, settings_words
from sessions.records import RequestRow
from workbench.record import Record


def change_of(record: Record, row: RequestRow) -> str:
    """What a fork changed, in words; empty for a request that is none."""
    forked = row.forked
    if forked is None:
        return ""
    parent = record.request(row.parent) if row.parent is not None else None
    settings = settings_words(row.sampling, parent.sampling) if parent is not None else ""
    scales = forked.intervened.scales if forked.intervened is not None else ()
    return fork_words(forked.changed, forked.appended, scales, record.token_text, settings or "other settings")


def origin_of(record: Record, row: RequestRow | None) -> str:
    """` forks 1 at 177: ' get' there`, to stand behind a request's id; empty for a request that is no fork."""
    if row is None or row.parent is None:
        return ""
    return f" forks {row.parent} at {row.at_position}: {change_of(record, row)}"


__all__ = ["change_of", "origin_of"]
