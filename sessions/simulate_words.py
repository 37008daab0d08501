"""A what-if as a table and sentences: every cell is a number of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from typing import Final, TypeAlias

from engine.sanitise import display_text
from engine.wording import TokenText, plural, sentence
from engine.wording.past import WAITED
from sessions.explain_words import rate_words
from sessions.simulate_check import Difference, Verdict
from sessions.simulate_compare import Change, Column, WhatIf

Cell: TypeAlias = Callable[[Column], str]

ARROW: Final = " -> "
COURSE: Final = ("steps waited", "tokens cached", "preemptions", "computed again", "steps to its end")
"""What the numbers of a `Course` are, in their order."""
_MOST_NAMED: Final = 6
_HAPPENED: Final = {
    "step_failed": "failed",
    "evicted by hand": "was followed by an eviction by hand",
    "dropped": "dropped blocks by a KV policy",
    "weighed": "measured attention for a KV policy",
    "offloaded": "wrote blocks to host files",
}


def verdict_words(verdict: Verdict, text: TokenText) -> str:
    """How far the simulation can be trusted."""
    if verdict.difference is not None:
        return _parted(verdict.difference, text)
    if verdict.obstacle is None:
        return (
            f"Checked: with unchanged options the simulation repeats all {plural(verdict.steps, 'step')} exactly."
        )
    happened = _HAPPENED.get(verdict.obstacle.kind, f"has {verdict.obstacle.kind}")
    return (
        f"Checked: with unchanged options the simulation repeats the record exactly up to step"
        f" {verdict.checked_steps}. Step {verdict.obstacle.step} {happened}, which is not simulated:"
        f" compare with the column 'simulated as it was'."
    )


def _parted(difference: Difference, text: TokenText) -> str:
    recorded, simulated = (
        "nothing" if event is None else display_text(sentence(event, text))
        for event in (difference.recorded, difference.simulated)
    )
    return (
        "Not to be trusted: with unchanged options the simulation parts from the record in step"
        f" {difference.step}, where it says “{simulated}” and the record “{recorded}”."
    )


def table(result: WhatIf) -> list[tuple[str, ...]]:
    """The head and the rows: a name, the record, and each simulated run. Rows of nothing are left out."""
    columns = (result.before, *result.after)
    rows = [(name, *map(cell, columns)) for name, cell in _rows(columns)]
    return [("", *(column.name for column in columns)), *(row for row in rows if set(row[1:]) != {"0"})]


def _rows(columns: Sequence[Column]) -> Iterator[tuple[str, Cell]]:
    yield "steps", lambda column: f"{column.totals.steps + column.totals.failed_steps:,}"
    yield "prefix cache hits", lambda column: rate_words(column.totals.first_look)
    if any(column.totals.resumed_look.looked_up_tokens for column in columns):
        yield "  of what resumed", lambda column: rate_words(column.totals.resumed_look)
    yield "steps waited", lambda column: f"{column.totals.all_waited_steps:,}"
    for code in dict.fromkeys(code for column in columns for code in column.totals.waited_steps):
        yield f"  {WAITED.get(code, code)}", _waited(code)
    yield "preemptions", lambda column: f"{column.totals.preemptions:,}"
    yield "tokens computed", lambda column: f"{column.totals.computed_tokens:,}"
    yield "  computed again", lambda column: f"{column.totals.recomputed_tokens:,}"
    yield "tokens evicted", lambda column: f"{column.totals.evicted_blocks * column.totals.block_size:,}"
    yield "peak KV blocks", lambda column: f"{column.totals.peak_blocks:,} of {column.totals.num_blocks:,}"
    yield "  tokens in a block", lambda column: f"{column.totals.block_size:,}"
    yield "requests refused", lambda column: f"{len(column.refused):,}"


def _waited(code: str) -> Cell:
    return lambda column: f"{column.totals.waited_steps.get(code, 0):,}"


def change_table(changes: Sequence[Change]) -> list[tuple[str, ...]]:
    """The head and a row for each request: what stayed the same is said once."""
    return [("request", *COURSE), *((change.request, *_cells(change)) for change in changes)]


def _cells(change: Change) -> Iterator[str]:
    for before, after in zip(astuple(change.before), astuple(change.after), strict=True):
        yield f"{before:,}" if before == after else f"{before:,}{ARROW}{after:,}"


def notes(result: WhatIf) -> list[str]:
    """What a reader must know about the columns, and what they cannot say."""
    said: list[str] = []
    for column in result.after:
        if column.cut_short:
            said.append(f"{column.name}: {_cut_short(column.cut_short)}.")
        if column.skipped_steps:
            idle = plural(column.skipped_steps, "step")
            said.append(f"{column.name}: nothing would have been there to run for {idle}, which are not counted.")
        if missing := tuple(id_ for id_ in result.before.courses if id_ not in column.courses):
            said.append(f"{column.name}: {_named(missing)} could not be forked, from what is refused.")
        new = tuple(id_ for id_ in column.refused if id_ not in result.before.refused)
        if new:
            said.append(f"{column.name}: {_named(new)} could never run there: refused.")
    return [*said, NOT_KNOWN]


NOT_KNOWN: Final = (
    "A simulation counts steps: it cannot say how long they would take. Arrivals keep their step, and requests"
    " generate the tokens that are recorded, no more."
)


def _cut_short(ids: Sequence[str]) -> str:
    verbs = ("needs a token", "ends") if len(ids) == 1 else ("need tokens", "end")
    return f"{_named(ids)} {verbs[0]} that the record does not have, and {verbs[1]} there"


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MOST_NAMED:,} more" if len(ids) > _MOST_NAMED else ""
    return f"request{'s' if len(ids) > 1 else ''} {', '.join(ids[:_MOST_NAMED])}{more}"
