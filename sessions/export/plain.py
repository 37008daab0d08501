"""The tables that any tool can read: those of the session that are plain, and what is packed in others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from engine.details import TRANSFORMS
from sessions.export.excerpt import Excerpt
from sessions.schema import PLAIN_TABLES

Kind = Literal["INTEGER", "REAL", "TEXT"]
Row = tuple[Any, ...]

_REQUEST: Final = {
    "events": "request", "requests": "request", "phases": "request", "tokens": "request", "decisions": "request",
    "blocks": "request",
}  # fmt: skip
_STEP: Final = {
    "branches": None, "steps": "step", "events": "step", "tokens": "chosen_step", "decisions": "step",
    "blocks": "step", "phases": "first_step", "requests": "submitted_step",
}  # fmt: skip
_ORDER: Final = {
    "branches": "branch", "events": "seq", "steps": "step", "requests": "arrival", "phases": "request, number",
    "tokens": "request, position", "decisions": "seq", "blocks": "block, seq",
}  # fmt: skip
_ENDS: Final = {"requests": "finished_step", "phases": "last_step"}
"""Tables whose rows last from step to step, and where those say when they ended."""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: Kind


CANDIDATES: Final = (
    Column("branch", "INTEGER"), Column("step", "INTEGER"), Column("request", "TEXT"),
    Column("position", "INTEGER"), Column("place", "INTEGER"), Column("token", "INTEGER"), Column("raw", "REAL"),
    *(Column(stage, "REAL") for stage in TRANSFORMS),
    Column("prob", "REAL"), Column("removed_by", "TEXT"), Column("number", "REAL"), Column("text", "TEXT"),
)  # fmt: skip
PROMPT_TOKENS: Final = (
    Column("branch", "INTEGER"), Column("request", "TEXT"), Column("position", "INTEGER"),
    Column("token", "INTEGER"), Column("text", "TEXT"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Relation:
    """A table of an excerpt: its columns, and how to get its rows."""

    name: str
    columns: tuple[Column, ...]
    excerpt: Excerpt

    def rows(self) -> Iterator[Row]:
        """The rows in the order of the table's key."""
        if self.name == "candidates":
            return _candidates(self.excerpt)
        if self.name == "prompt_tokens":
            return _prompt_tokens(self.excerpt)
        return self.excerpt.select(f"SELECT * {selection(self.excerpt, self.name)} ORDER BY {_ORDER[self.name]}")


def plain_relations(excerpt: Excerpt) -> list[Relation]:
    """The plain tables of the session, in the order that the format's document has."""
    return [Relation(table, _columns(excerpt, table), excerpt) for table in PLAIN_TABLES]


def all_relations(excerpt: Excerpt) -> list[Relation]:
    """The plain tables, and candidates and prompts unpacked."""
    return [
        *plain_relations(excerpt),
        Relation("candidates", CANDIDATES, excerpt),
        Relation("prompt_tokens", PROMPT_TOKENS, excerpt),
    ]


def leave_out_packed(excerpt: Excerpt, what: str = "") -> None:
    """Say that what is packed in the session is not among its tables: `what`, and tensors if there are any."""
    if what:
        excerpt.leave_out(f"{what}: `--to sqlite` and `--to parquet` have them as tables")
    if excerpt.session.count_rows("tensors"):
        excerpt.leave_out("captured tensors: `--to safetensors` has them")


def count_rows(excerpt: Excerpt, table: str) -> int:
    """How many rows of a table of the session are in the excerpt."""
    return int(next(excerpt.select(f"SELECT count(*) {selection(excerpt, table)}"))[0])


def selection(excerpt: Excerpt, table: str) -> str:
    """The FROM and WHERE of the rows of a plain table."""
    lasting = _ENDS.get(table)
    wanted = excerpt.rows_of(table, _STEP[table], _REQUEST.get(table), since_start=lasting is not None)
    if lasting is not None and excerpt.options.steps is not None:
        wanted += f" AND coalesce({lasting}, {excerpt.last_step}) >= {excerpt.first_step}"
    return wanted


def _columns(excerpt: Excerpt, table: str) -> tuple[Column, ...]:
    described = excerpt.session.columns(table)
    return tuple(Column(name, _kind(kind)) for name, kind in described)


def _kind(declared: str) -> Kind:
    return "INTEGER" if declared == "INTEGER" else "REAL" if declared == "REAL" else "TEXT"


def _candidates(excerpt: Excerpt) -> Iterator[Row]:
    text = excerpt.session.token_text
    for step in excerpt.step_rows():
        for about in excerpt.details(step.step):
            columns = about.candidates
            after = dict(zip(about.transforms, columns.values, strict=True))
            for place, token in enumerate(columns.ids):
                removed = columns.removing_stage(place)
                yield (
                    step.branch, step.step, about.request, about.position, place + 1, token, columns.raw[place],
                    *(after[stage][place] if stage in after else None for stage in TRANSFORMS),
                    columns.prob[place], removed, columns.number[place] if removed else None, text(token),
                )  # fmt: skip


def _prompt_tokens(excerpt: Excerpt) -> Iterator[Row]:
    text = excerpt.session.token_text
    for request in excerpt.requests:
        for position, token in enumerate(excerpt.prompt_ids(request)):
            yield request.branch, request.request, position, token, text(token)
