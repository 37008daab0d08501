"""Questions about requests: their prompts, tokens and phases, and why each token was chosen."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

    def requests(self, branch: int = 0, first_arrival: int = 0, last_arrival: int = FOREVER) -> list[RequestRow]:
        """All requests in order of arrival, or those from one arrival to another, both included.

        Of a branch, also those that were over when it parted from the one it continues.
        """
        found: dict[str, RequestRow] = {}
        for part in self.lineage(branch).backwards():
            rows = self._rows(
                "SELECT * FROM requests WHERE branch = ? AND arrival BETWEEN ? AND ? AND submitted_step <= ?",
                part.branch, first_arrival, last_arrival, part.last_step,
            )  # fmt: skip
            found = {row[1]: RequestRow(*row) for row in rows} | found
        return sorted(found.values(), key=lambda row: row.arrival)

    def request_count(self, branch: int = 0) -> int:
        """How many requests have arrived: they are numbered by arrival, from 0."""
        arrivals = "SELECT arrival FROM requests WHERE branch = ? AND submitted_step <= ?"
        question = f"{arrivals} ORDER BY arrival DESC LIMIT 1"
        latest = (self._value(question, part.branch, part.last_step) for part in self.lineage(branch).segments)
        return max((arrival + 1 for arrival in latest if arrival is not None), default=0)

    def forks(self, branch: int = 0) -> dict[int, str]:
        """The parent of every fork, by the fork's arrival."""
        question = (
            "SELECT arrival, parent FROM requests WHERE branch = ? AND parent IS NOT NULL AND submitted_step <= ?"
        )
        parts = self.lineage(branch).segments
        return {
            arrival: parent
            for part in parts
            for arrival, parent in self._rows(question, part.branch, part.last_step)
        }

    def request(self, request: str, branch: int = 0) -> RequestRow:
        """One request. Raises SessionError where there is none of that id."""
        found = self.find_request(request, branch)
        if found is None:
            raise SessionError(f"{self.path} has no request {request}")
        return found

    def find_request(self, request: str, branch: int = 0) -> RequestRow | None:
        """One request, None where there is none of that id."""
        for part in self.lineage(branch).backwards():
            rows = self._rows(
                "SELECT * FROM requests WHERE branch = ? AND request = ? AND submitted_step <= ?",
                part.branch, request, part.last_step,
            )  # fmt: skip
            if rows:
                return RequestRow(*rows[0])
        return None

    def prompt_ids(self, request: str, branch: int = 0) -> Sequence[int]:
        """The token ids of a request's prompt. Raises SessionError where there is no such request."""
        return unpack_ids(self._prompt("ids", request, branch))

    def prompt_text(self, request: str, branch: int = 0) -> str:
        """The text of a request's prompt."""
        text: str = self._prompt("text", request, branch)
        return text

    def tokens(self, request: str, branch: int = 0, start: int = 0, stop: int | None = None) -> list[TokenRow]:
        """The generated tokens of a request at positions `start` to `stop`, `stop` not included.

        Those of a fork before the position it was forked at are its parent's.
        """
        return self._records(
            TokenRow,
            "SELECT * FROM tokens WHERE branch = ? AND request = ? AND position >= ? AND position < ?"
            " ORDER BY position",
            self.home(request, branch), request, start, FOREVER if stop is None else stop,
        )  # fmt: skip

    def token(self, request: str, position: int, branch: int = 0) -> TokenRow | None:
        """The generated token at `position`, None for a prompt token and beyond the end."""
        rows = self.tokens(request, branch, position, position + 1)
        return rows[0] if rows else None

    def tokens_of(self, request: str, branch: int = 0) -> Sequence[int]:
        """Prompt and output of `request` so far: this makes a session a `TokenSource` (of its first branch)."""
        ids = unpack_ids(b"")
        ids.extend(self.prompt_ids(request, branch))
        output = self._rows(
            "SELECT token FROM tokens WHERE branch = ? AND request = ? ORDER BY position",
            self.home(request, branch), request,
        )  # fmt: skip
        ids.extend(token for (token,) in output)
        return ids

    def home(self, request: str, branch: int = 0) -> int:
        """The branch that has the rows of a request as `branch` knows it: a branch copies what lives on in it."""
        if branch == 0:
            return 0
        for part in self.lineage(branch).backwards():
            found = self._rows(
                "SELECT 1 FROM requests WHERE branch = ? AND request = ? AND submitted_step <= ?",
                part.branch, request, part.last_step,
            )  # fmt: skip
            if found:
                return part.branch
        return branch

    def _prompt(self, column: str, request: str, branch: int) -> Any:
        home = self.home(request, branch)
        rows = self._rows(f"SELECT {column} FROM prompts WHERE branch = ? AND request = ?", home, request)
        if not rows:
            raise SessionError(f"{self.path} has no request {request}")
        return rows[0][0]

    def details(self, request: str, position: int, branch: int = 0) -> TokenDetails | None:
        """How the token at `position` was chosen; None for a prompt token, or where nothing was recorded."""
        row = self.token(request, position, branch)
        if row is None:
            return None
        chooser = self.chooser(request, position, branch)
        of_step = self.details_of_step(row.chosen_step, branch)
        return next((about for about in of_step if (about.request, about.position) == (chooser, position)), None)

    def chooser(self, request: str, position: int, branch: int = 0) -> str:
        """For whom the token at `position` was chosen: a fork's first ones for its parent, or one before that."""
        row = self.request(request, branch)
        while row.parent is not None and row.at_position is not None and position < row.at_position:
            row = self.request(row.parent, branch)
        return row.request

    def details_of_step(self, step: int, branch: int = 0) -> list[TokenDetails]:
        """How the tokens of `step` were chosen, in batch order."""
        if self._unpacked != (branch, step):
            owner = self.lineage(branch).owner(step)
            data = self._value("SELECT data FROM candidate_rows WHERE branch = ? AND step = ?", owner, step)
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
            "SELECT * FROM phases WHERE branch = ? AND request = ? ORDER BY number",
            self.home(request, branch), request,
        )  # fmt: skip
        return [Phase(*row) for row in rows]

    def _unpack(self, step: int, data: bytes) -> list[TokenDetails]:
        try:
            return unpack_step(data)
        except DetailsError as error:
            raise SessionError(f"{self.path}: step {step}: {error}") from error

    def _end_of(self, phase: Phase) -> int:
        return self.last_step(phase.branch) if phase.last_step is None else phase.last_step
