"""The event log as an indexable list, filtered or not, however long it is."""

from __future__ import annotations

import sqlite3
from array import array
from bisect import bisect_left
from typing import Any

import msgspec

from engine import events as ev
from sessions.errors import SessionError
from sessions.records import EventRow
from sessions.tables import fetch, fetch_value

SCAN_EVENTS = 20_000


class EventFilter(msgspec.Struct, frozen=True):
    """Which events to show; what is empty or None lets all through.

    `request` also finds batches it is part of; `text` is looked for in the event's JSON, ignoring case;
    `steps` is a first and a last step, both included.
    """

    types: frozenset[str] = frozenset()
    request: str | None = None
    text: str = ""
    steps: tuple[int, int] | None = None
    branch: int | None = None


class EventView:
    """The events that pass a filter, by row number from 0.

    Unfiltered, row and number agree (`seq == row + 1`), and nothing is ever scanned. With a filter,
    `scan` finds matching rows a part at a time, so that a screen can stay alive; `complete` says that
    all recorded events have been looked at.
    """

    def __init__(self, connection: sqlite3.Connection, wanted: EventFilter) -> None:
        self._connection = connection
        self._wanted = wanted
        self._everything = wanted == EventFilter()
        self._where, self._values = _condition(wanted)
        self._found = array("q")
        self._scanned = 0  # seq of the last event looked at
        self._last = 0
        self.refresh()

    def refresh(self) -> None:
        """Take notice of events recorded since; matching ones are found by the next `scan`."""
        self._last = fetch_value(self._connection, "SELECT max(seq) FROM events") or 0

    @property
    def complete(self) -> bool:
        return self._everything or self._scanned >= self._last

    def scan(self, events: int = SCAN_EVENTS) -> bool:
        """Look at up to `events` more events; whether all have been looked at now."""
        if not self.complete:
            stop = min(self._last, self._scanned + events)
            rows = fetch(
                self._connection,
                f"SELECT seq FROM events WHERE seq > ? AND seq <= ? AND {self._where} ORDER BY seq",
                self._scanned, stop, *self._values,
            )  # fmt: skip
            self._found.extend(seq for (seq,) in rows)
            self._scanned = stop
        return self.complete

    def scan_all(self) -> EventView:
        """Look at everything recorded so far, and return this view."""
        while not self.scan():
            pass
        return self

    def __len__(self) -> int:
        return self._last if self._everything else len(self._found)

    def __getitem__(self, row: int) -> EventRow:
        found = self.rows(row, row + 1) if row >= 0 else []
        if not found:
            raise IndexError(row)
        return found[0]

    def rows(self, start: int, stop: int) -> list[EventRow]:
        """The events of rows `start` to `stop`, `stop` not included; fewer where the log ends."""
        if self._everything:
            return fetch_events(self._connection, start + 1, min(stop, self._last))
        return [row for seq in self._found[start:stop] for row in fetch_events(self._connection, seq, seq)]

    def row_of(self, seq: int) -> int:
        """The row of event `seq`, or of the first matching one after it."""
        if self._everything:
            return seq - 1
        return bisect_left(self._found, seq)


def fetch_events(connection: sqlite3.Connection, first_seq: int, last_seq: int) -> list[EventRow]:
    """The events with numbers from `first_seq` to `last_seq`, both included."""
    rows = fetch(
        connection, "SELECT seq, data FROM events WHERE seq >= ? AND seq <= ? ORDER BY seq", first_seq, last_seq
    )
    return [event_row(seq, line) for seq, line in rows]


def event_row(seq: int, line: str) -> EventRow:
    """The event in a line of JSON. Raises SessionError where it is none."""
    try:
        return EventRow(seq, ev.decode(line))
    except (TypeError, ValueError) as error:
        raise SessionError(f"event {seq} cannot be read: {error}") from error


def _condition(wanted: EventFilter) -> tuple[str, list[Any]]:
    clauses: list[str] = []
    values: list[Any] = []

    def require(clause: str, *of: Any) -> None:
        clauses.append(clause)
        values.extend(of)

    if wanted.branch is not None:
        require("branch = ?", wanted.branch)
    if wanted.types:
        require(f"type IN ({', '.join('?' * len(wanted.types))})", *sorted(wanted.types))
    if wanted.steps is not None:
        require("step BETWEEN ? AND ?", *wanted.steps)
    if wanted.request is not None:
        require("(request = ? OR instr(data, ?))", wanted.request, f'"{wanted.request}"')
    if wanted.text:
        require("instr(lower(data), ?)", wanted.text.lower())
    return " AND ".join(clauses) or "TRUE", values
