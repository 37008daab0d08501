"""Requests of a session by arrival, kept while it grows: only new and unfinished ones are read again."""

from __future__ import annotations

from sessions.reader import Session
from sessions.records import RequestRow


class KnownRequests:
    """`rows` as of the latest `refresh`."""

    def __init__(self, session: Session, branch: int) -> None:
        self._session = session
        self._branch = branch
        self._index: dict[str, int] = {}
        self._unfinished: dict[str, None] = {}
        self.rows: list[RequestRow] = []

    def refresh(self) -> None:
        """Take in what changed."""
        for request in list(self._unfinished):
            self._put(self._session.request(request, self._branch))
        first = self.rows[-1].arrival + 1 if self.rows else 0
        for row in self._session.requests(self._branch, first):
            self._put(row)

    def find(self, request: str) -> RequestRow | None:
        """One request, None where there is none of that id."""
        index = self._index.get(request)
        return None if index is None else self.rows[index]

    def _put(self, row: RequestRow) -> None:
        if (index := self._index.get(row.request)) is None:
            self._index[row.request] = len(self.rows)
            self.rows.append(row)
        else:
            self.rows[index] = row
        if row.finished_step is None:
            self._unfinished[row.request] = None
        else:
            self._unfinished.pop(row.request, None)


__all__ = ["KnownRequests"]
