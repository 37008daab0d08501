"""Excerpt: the part of a session that an export takes, as one line of history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.details import TokenDetails
from engine.state import State
from sessions.export.options import ExportOptions, parse_branch, parse_layers, parse_requests, parse_steps
from sessions.reader import Session
from sessions.records import Phase, RequestRow, StepRow, TensorRow, TokenRow
from sessions.tables import FOREVER

CHUNK_STEPS: Final = 1_000
TAKEN_OVER: Final = ("requests", "phases", "tokens")
"""Tables of which a branch has its own rows of every request that lived on in it, from the start."""


class About(msgspec.Struct, frozen=True):
    """What a file says of the part of the session it holds. None stands for all there is."""

    session: str
    branch: int
    first_step: int
    last_step: int
    requests: tuple[str, ...] | None
    layers: tuple[int, ...] | None
    redacted: bool
    left_out: tuple[str, ...]


class Excerpt:
    """Rows of one lineage, of the steps, requests and layers asked for. `left_out` says what is not there."""

    def __init__(self, session: Session, options: ExportOptions, name: str, source: Path) -> None:
        """Raises SessionError for a part that the session does not have.

        `name` is what to call the session in what is written, `source` the file that was asked for.
        """
        self.session = session
        self.options = options
        self.name = name
        self.source = source
        self.branch = parse_branch(options.branch, [each.branch for each in session.branches])
        self.lineage = session.lineage(self.branch)
        self.steps = parse_steps(options.steps, session.last_step(self.branch))
        self.chosen = parse_requests(options.requests, [row.request for row in self._all_requests])
        self.layers = parse_layers(options.layers, session.header.shape.layers)
        self.left_out: list[str] = []

    # -- what it is ----------------------------------------------------------------------------------

    @property
    def first_step(self) -> int:
        return self.steps.first

    @property
    def last_step(self) -> int:
        return self.steps.last

    @property
    def since(self) -> int:
        """The first step whose events belong to it: what was said before step 1 carries step 0."""
        return 0 if self.steps.open_end else self.first_step

    @property
    def about(self) -> About:
        layers = None if self.layers is None else tuple(sorted(self.layers))
        return About(
            self.name, self.branch, self.first_step, self.last_step, self.chosen, layers,
            self.session.redacted, tuple(self.left_out),
        )  # fmt: skip

    def leave_out(self, what: str) -> None:
        """Remember something that is not in the export, for whoever reads it."""
        if what not in self.left_out:
            self.left_out.append(what)

    def keeps(self, request: str | None) -> bool:
        """Whether rows of `request` are wanted; those of no single request always are."""
        return request is None or self.chosen is None or request in self.chosen

    def keeps_layer(self, layer: int | None) -> bool:
        return layer is None or self.layers is None or layer in self.layers

    # -- steps ---------------------------------------------------------------------------------------

    def step_rows(self) -> Iterator[StepRow]:
        """The steps in order."""
        for first in range(self.first_step, self.last_step + 1, CHUNK_STEPS):
            yield from self.session.step_rows(first, min(first + CHUNK_STEPS - 1, self.last_step), self.branch)

    def state_at(self, step: int) -> State:
        return self.session.state_at(step, self.branch)

    def details(self, step: int) -> list[TokenDetails]:
        """How the tokens of a step were chosen, of the requests asked for."""
        return [each for each in self.session.details_of_step(step, self.branch) if self.keeps(each.request)]

    def tensors(self, step: int) -> list[TensorRow]:
        """The captured tensors of a step, of the requests and layers asked for."""
        found = self.session.tensors(step, self.branch)
        return [each for each in found if self.keeps(each.key.request) and self.keeps_layer(each.key.layer)]

    # -- requests ------------------------------------------------------------------------------------

    @cached_property
    def requests(self) -> tuple[RequestRow, ...]:
        """Those asked for that were there during these steps, by arrival, as the record leaves them."""
        return tuple(
            row
            for row in self._all_requests
            if self.keeps(row.request)
            and row.submitted_step <= self.last_step
            and (row.finished_step is None or row.finished_step >= self.since)
        )

    @cached_property
    def _all_requests(self) -> list[RequestRow]:
        return self.session.requests(self.branch)

    def prompt_ids(self, request: RequestRow) -> Sequence[int]:
        return self.session.prompt_ids(request.request, self.branch)

    def tokens(self, request: str) -> list[TokenRow]:
        """What was generated for a request up to the last step of the excerpt."""
        rows = self.session.tokens(request, self.branch)
        return [row for row in rows if row.chosen_step <= self.last_step]

    def token_ids(self, request: RequestRow) -> list[int]:
        """Prompt and output up to the last step of the excerpt; position is the index."""
        return [*self.prompt_ids(request), *(row.token for row in self.tokens(request.request))]

    def phases(self, request: str) -> list[Phase]:
        """What a request did when, up to the last step; a phase that goes on beyond it is open."""
        phases = self.session.request_phases(request, self.branch)
        if self.steps.open_end:
            return phases
        return [_cut(phase, self.last_step) for phase in phases if phase.first_step <= self.last_step]

    # -- SQL -----------------------------------------------------------------------------------------

    def rows_of(self, table: str, step: str | None, request: str | None, *, since_start: bool = False) -> str:
        """FROM and WHERE of the rows of `table` in this excerpt; `step` and `request` name its columns.

        With `since_start`, rows of steps before the first one too.
        """
        first = 0 if since_start else self.since
        parts = [self._branches_and_steps(table, step, first)]
        if request is not None and self.chosen is not None:
            parts.append(f"({request} IS NULL OR {request} IN ({', '.join(map(_literal, self.chosen))}))")
        return f"FROM {table} WHERE " + " AND ".join(parts)

    def rows_of_steps(self, table: str, request: str | None = None) -> str:
        """The same, of the steps that ended, without what was said before the first one."""
        ended = f"step BETWEEN {self.first_step} AND {self.last_step}"
        return f"{self.rows_of(table, 'step', request)} AND {ended}"

    def select(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows that answer a query."""
        answer = self.session.query(sql)
        with closing(answer.rows):
            yield from answer.rows

    def _branches_and_steps(self, table: str, step: str | None, first: int) -> str:
        last = FOREVER if self.steps.open_end else self.last_step
        clauses: list[str] = []
        for branch, start, stop in self.lineage.segments:
            clause = f"branch = {branch}"
            if step is not None:
                begin = first if table in TAKEN_OVER else max(first, start)
                clause += f" AND {step} BETWEEN {begin} AND {min(last, stop)}"
            if table in TAKEN_OVER and branch != self.branch:
                clause += f" AND request NOT IN ({self._lived_on(branch)})"
            clauses.append(f"({clause})")
        return f"({' OR '.join(clauses)})"

    def _lived_on(self, branch: int) -> str:
        """A query for the requests of which a later branch of this history has rows of its own."""
        later = ", ".join(str(part.branch) for part in self.lineage.segments if part.branch > branch)
        return f"SELECT request FROM requests WHERE branch IN ({later})"


def _cut(phase: Phase, last_step: int) -> Phase:
    """The phase as it looked after `last_step`."""
    if phase.last_step is not None and phase.last_step > last_step:
        return msgspec.structs.replace(phase, last_step=None)
    return phase


def _literal(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"
