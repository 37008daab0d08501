"""Questions about requests: their prompts, tokens and phases, and why each token was chosen."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from engine.details import DetailsError, TokenDetails, unpack_step
from sessions.errors import SessionError
from sessions.records import Phase, RequestRow, TokenRow, unpack_ids
from sessions.steps import StepQueries
from sessions.tables import FOREVER


class RequestQueries(StepQueries):
    """The tables `requests`, `prompts`, `tokens`, `candidate_rows` and `phases`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path, connection)
        self._unpacked: tuple[int, int] | None = None  # (branch, step) of `_details`
        self._details: list[TokenDetails] = []

    def requests(self, branch: int = 0, first_arrival: int = 0) -> list[RequestRow]:
        """All requests in order of arrival, or those from one arrival on."""
        rows = self._rows(
            "SELECT * FROM requests WHERE branch = ? AND arrival >= ? ORDER BY arrival", branch, first_arrival
        )
        return [RequestRow(*row) for row in rows]

    def request(self, request: str, branch: int = 0) -> RequestRow:
        """One request. Raises SessionError where there is none of that id."""
        rows = self._rows("SELECT * FROM requests WHERE branch = ? AND request = ?", branch, request)
        if not rows:
            raise SessionError(f"{self.path} has no request {request}")
        return RequestRow(*rows[0])

    def prompt_ids(self, request: str, branch: int = 0) -> Sequence[int]:
        """The token ids of a request's prompt. Raises SessionError where there is no such request."""
        ids = self._value("SELECT ids FROM prompts WHERE branch = ? AND request = ?", branch, request)
        if ids is None:
            raise SessionError(f"{self.path} has no request {request}")
        return unpack_ids(ids)

    def prompt_text(self, request: str, branch: int = 0) -> str:
        """The text of a request's prompt."""
        return self._value("SELECT text FROM prompts WHERE branch = ? AND request = ?", branch, request) or ""

    def tokens(self, request: str, branch: int = 0, start: int = 0, stop: int | None = None) -> list[TokenRow]:
        """The generated tokens of a request at positions `start` to `stop`, `stop` not included."""
        return self._records(
            TokenRow,
            "SELECT * FROM tokens WHERE branch = ? AND request = ? AND position >= ? AND position < ?"
            " ORDER BY position",
            branch, request, start, FOREVER if stop is None else stop,
        )  # fmt: skip

    def token(self, request: str, position: int, branch: int = 0) -> TokenRow | None:
        """The generated token at `position`, None for a prompt token and beyond the end."""
        rows = self.tokens(request, branch, position, position + 1)
        return rows[0] if rows else None

    def tokens_of(self, request: str) -> Sequence[int]:
        """Prompt and output of `request` so far (branch 0): this makes a session a `TokenSource`."""
        ids = unpack_ids(b"")
        ids.extend(self.prompt_ids(request))
        output = self._rows(
            "SELECT token FROM tokens WHERE branch = 0 AND request = ? ORDER BY position", request
        )
        ids.extend(token for (token,) in output)
        return ids

    def details(self, request: str, position: int, branch: int = 0) -> TokenDetails | None:
        """How the token at `position` was chosen; None for a prompt token, or where nothing was recorded."""
        row = self.token(request, position, branch)
        if row is None:
            return None
        of_step = self.details_of_step(row.chosen_step, branch)
        return next((about for about in of_step if (about.request, about.position) == (request, position)), None)

    def details_of_step(self, step: int, branch: int = 0) -> list[TokenDetails]:
        """How the tokens of `step` were chosen, in batch order."""
        if self._unpacked != (branch, step):
            data = self._value("SELECT data FROM candidate_rows WHERE branch = ? AND step = ?", branch, step)
            if data is None:
                return []
            self._details, self._unpacked = self._unpack(step, data), (branch, step)
        return self._details

    def computed_step(self, request: str, position: int, branch: int = 0) -> int | None:
        """The step that last wrote the KV of `position`; None if it came from the cache or is not computed."""
        token = self.token(request, position, branch)
        if token is not None:
            return token.computed_step
        return next(
            (
                row.step
                for phase in reversed(self.request_phases(request, branch))
                if phase.phase == "prefill"
                for row in self.step_rows(phase.first_step, self._end_of(phase), branch)
                if any(work.request == request and work.start <= position < work.stop for work in row.works)
            ),
            None,
        )

    def request_phases(self, request: str, branch: int = 0) -> list[Phase]:
        """The phases a request went through, in order; the last is open while the request lives."""
        rows = self._rows(
            "SELECT * FROM phases WHERE branch = ? AND request = ? ORDER BY number", branch, request
        )
        return [Phase(*row) for row in rows]

    def phases_between(self, first: int, last: int, branch: int = 0) -> list[Phase]:
        """All phases that steps `first` to `last` saw, by request: the visible part of a Gantt chart."""
        rows = self._rows(
            "SELECT * FROM phases WHERE branch = ? AND first_step <= ? AND coalesce(last_step, ?) >= ?"
            " ORDER BY request, number",
            branch, last, last, first,
        )  # fmt: skip
        return [Phase(*row) for row in rows]

    def _unpack(self, step: int, data: bytes) -> list[TokenDetails]:
        try:
            return unpack_step(data)
        except DetailsError as error:
            raise SessionError(f"{self.path}: step {step}: {error}") from error

    def _end_of(self, phase: Phase) -> int:
        return self.last_step(phase.branch) if phase.last_step is None else phase.last_step
