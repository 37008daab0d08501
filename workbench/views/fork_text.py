"""What is shown of a fork: its parent, its position and what it changed; and families in a table's order."""

from __future__ import annotations

from collections.abc import Container, Sequence

from engine.change_wording import fork_words, settings_words
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


def in_families(rows: Sequence[RequestRow], live: Container[str]) -> list[RequestRow]:
    """`rows` with every fork under its parent: families with a live request first, by arrival."""
    if not any(row.parent is not None for row in rows):
        return list(rows)
    there = {row.request for row in rows}
    children: dict[str, list[RequestRow]] = {}
    for row in sorted(rows, key=lambda row: row.arrival):
        if row.parent in there:
            children.setdefault(str(row.parent), []).append(row)
    families = [_family(row, children) for row in rows if row.parent not in there]
    alive = [family for family in families if any(row.request in live for row in family)]
    alive.sort(key=lambda family: family[0].arrival)
    ended = [family for family in families if not any(row.request in live for row in family)]
    return [row for family in (*alive, *ended) for row in family]


def _family(root: RequestRow, children: dict[str, list[RequestRow]]) -> list[RequestRow]:
    """A request and its forks, theirs included, each under its parent."""
    family, waiting = list[RequestRow](), [root]
    while waiting:
        row = waiting.pop()
        family.append(row)
        waiting += reversed(children.get(row.request, ()))
    return family


__all__ = ["change_of", "in_families", "origin_of"]
