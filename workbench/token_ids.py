"""Token ids of requests, kept while a run goes on and extended by what is new."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from sessions.errors import SessionError
from sessions.reader import Session


class TokenIds:
    """Prompt and output of the requests somebody looked at."""

    def __init__(self, session: Session, branch: int) -> None:
        self._session = session
        self._branch = branch
        self._ids: dict[str, array[int]] = {}
        self._read_until: dict[str, int] = {}  # the log's length when the request was last brought up to date

    def of(self, request: str) -> Sequence[int]:
        """All ids there are now; empty for a request that is not there."""
        if request not in self._ids:
            try:
                self._ids[request] = array("i", self._session.prompt_ids(request, self._branch))
            except SessionError:
                return ()
        ids = self._ids[request]
        if self._read_until.get(request) != self._session.last_seq:
            rows = self._session.tokens(request, self._branch, len(ids))
            ids.extend(row.token for row in rows)
            self._read_until[request] = self._session.last_seq
        return ids


__all__ = ["TokenIds"]
