"""Requests of a session by arrival: only those that somebody looks at are read, however many there are."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import overload

from sessions.reader import Session
from sessions.records import RequestRow

ROWS_AT_ONCE = 64
MOST_CHUNKS = 64
MOST_FOUND = 1_024


class Rows(Sequence[RequestRow]):
    """Rows by index, of which `row` knows one."""

    def row(self, index: int) -> RequestRow:
        """The row at an index from 0 on."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> RequestRow: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[RequestRow]: ...

    def __getitem__(self, index: int | slice) -> RequestRow | Sequence[RequestRow]:
        if isinstance(index, slice):
            return [self.row(at) for at in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(index)
        return self.row(at)


class KnownRequests(Rows):
    """All requests, by arrival, as of the latest `refresh`; the index of a row is its arrival."""

    def __init__(self, session: Session, branch: int) -> None:
        self._session = session
        self._branch = branch
        self._count = 0
        self._chunks: OrderedDict[int, Sequence[RequestRow]] = OrderedDict()
        self._found: dict[str, RequestRow | None] = {}
        self._parents: Mapping[int, int] | None = None

    def refresh(self) -> None:
        """Take in what changed: rows are read again when somebody looks."""
        self._count = self._session.request_count(self._branch)
        self._chunks.clear()
        self._found.clear()
        self._parents = None

    def find(self, request: str) -> RequestRow | None:
        """One request, None where there is none of that id."""
        if request not in self._found:
            if len(self._found) == MOST_FOUND:
                self._found.clear()
            self._found[request] = self._session.find_request(request, self._branch)
        return self._found[request]

    def parents(self) -> Mapping[int, int]:
        """The arrival of its parent for that of every fork."""
        if self._parents is None:
            rows = {fork: self.find(parent) for fork, parent in self._session.forks(self._branch).items()}
            self._parents = {fork: row.arrival for fork, row in rows.items() if row is not None}
        return self._parents

    def first(self, count: int) -> First:
        """The `count` that came first."""
        return First(self, min(count, len(self)))

    def __len__(self) -> int:
        return self._count

    def row(self, index: int) -> RequestRow:
        chunk = index // ROWS_AT_ONCE
        rows = self._chunks.get(chunk)
        if rows is None:
            rows = self._chunks[chunk] = self._read(chunk * ROWS_AT_ONCE)
            if len(self._chunks) > MOST_CHUNKS:
                self._chunks.popitem(last=False)
        return rows[index % ROWS_AT_ONCE]

    def _read(self, first: int) -> Sequence[RequestRow]:
        return self._session.requests(self._branch, first, first + ROWS_AT_ONCE - 1)


class First(Rows):
    """The requests that came first."""

    def __init__(self, all_: KnownRequests, count: int) -> None:
        self._all = all_
        self._count = count

    def __len__(self) -> int:
        return self._count

    def row(self, index: int) -> RequestRow:
        return self._all.row(index)


class Rearranged(Rows):
    """Rows that are known by arrival, in another order."""

    def __init__(self, arrived: Rows) -> None:
        self._arrived = arrived

    def __len__(self) -> int:
        return len(self._arrived)

    def row(self, index: int) -> RequestRow:
        return self._arrived[self._arrival(index)]

    def index_of(self, arrival: int) -> int | None:
        """Where the request that arrived so stands; None where it had not arrived."""
        return self._index(arrival) if 0 <= arrival < len(self) else None

    def _arrival(self, index: int) -> int:
        """The arrival of the row at an index."""
        raise NotImplementedError

    def _index(self, arrival: int) -> int:
        """Where one that has arrived stands."""
        raise NotImplementedError


class LiveFirst(Rearranged):
    """Live requests by arrival, then those that had ended, the latest to arrive first.

    arrival   0 1 2 3 4 5 6        live: 2 5
    index     6 5 0 4 3 1 2
    """

    def __init__(self, arrived: Rows, live: Sequence[int]) -> None:
        """`live` are arrivals, in order."""
        super().__init__(arrived)
        self._live = live
        self._ended_above = [len(arrived) - len(live) + at - arrival for at, arrival in enumerate(live)]

    def _index(self, arrival: int) -> int:
        at = bisect_left(self._live, arrival)
        if at < len(self._live) and self._live[at] == arrival:
            return at
        live_above = len(self._live) - at
        return len(self._live) + len(self) - 1 - arrival - live_above

    def _arrival(self, index: int) -> int:
        if index < len(self._live):
            return self._live[index]
        ended = index - len(self._live)  # so many others came later
        live_above = sum(above <= ended for above in self._ended_above)
        return len(self) - 1 - ended - live_above


__all__ = ["First", "KnownRequests", "LiveFirst", "Rearranged", "Rows"]
