"""Looking back costs what is looked at, not what was recorded: at a small size, by work and not by time."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.million import Size, generate
from engine import keyframe
from sessions.keyframes import MAX_EVENTS
from sessions.reader import Session
from sessions.records import RequestRow
from workbench.clock import Cursor
from workbench.known_requests import LiveFirst, Rows
from workbench.moment import Moment, moment_at
from workbench.record import Record

STEPS, BLOCKS = 4_000, 3_000
VISITED = 40


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long session in a pool that evicts, with a 30,000-token request in it."""
    path = tmp_path_factory.mktemp("long") / "long.wbs"
    generate(path, Size(STEPS, BLOCKS))
    return path


def visited(last: int) -> list[int]:
    """Steps here and there, then some forwards and some backwards."""
    rng = random.Random(5)
    here = last // 2
    return [*(rng.randrange(last) for _ in range(VISITED)), *range(here, here + 30), *range(here, here - 30, -1)]


def test_the_session_is_what_it_says(path: Path) -> None:
    with Session.open(path) as session:
        last = session.step_row(session.last_step())
        assert last is not None
        assert last.step == STEPS
        assert last.evicted_blocks > 0
        assert max(row.prompt_tokens for row in session.requests()) > 29_000
        assert session.request_count() == len(session.requests()) > 50
        for step in (1, STEPS // 3 + 20, STEPS):
            session.state_at(step).check_invariants()


def test_every_step_is_reached_from_near_and_is_what_a_fold_from_the_start_says(path: Path) -> None:
    with Session.open(path) as session, Session.open(path) as other:
        state = other.state_at(0).copy()
        wanted = dict.fromkeys(visited(STEPS), b"")
        for step in range(1, STEPS + 1):
            for row in other.events_of_step(step):
                state.apply(row.event)
            if step in wanted:
                wanted[step] = packed(state)
        seeker = session._seeker
        for step in visited(STEPS):
            before = seeker.folded
            if step:
                assert packed(session.state_at(step)) == wanted[step]
            assert seeker.folded - before <= MAX_EVENTS


def packed(state: object) -> bytes:
    return b"".join(keyframe.pack(state).values())  # type: ignore[arg-type]


def test_stepping_back_folds_no_more_than_stepping_on(path: Path) -> None:
    """But for the first step back, which leaves the copies that the others start from."""
    with closing(Record.open(path)) as record:
        here = STEPS - 500
        moment_at(record, Cursor(0, here, live=False))
        seeker = record.session._seeker
        moment_at(record, Cursor(0, here - 1, live=False))
        before = seeker.folded
        for step in range(here - 2, here - 32, -1):
            moment_at(record, Cursor(0, step, live=False))
        assert seeker.folded - before < 30 * 700
        assert len(seeker._snapshots) <= seeker._most_snapshots


def test_no_question_of_the_screen_reads_a_whole_table(path: Path) -> None:
    with closing(Record.open(path)) as record, asked(record.session) as questions:
        for step in visited(STEPS)[::5]:
            look_at(moment_at(record, Cursor(0, step, live=False)))
        record.refresh()
        record.notable(STEPS // 2, 1)
        record.notable(STEPS // 2, -1)
        seen = set(questions)
    assert len(seen) > 10
    with sqlite3.connect(path) as connection:
        scans = {
            question: detail
            for question in seen
            for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {question}")
            if reads_all(question, detail)
        }
    assert scans == {}


def reads_all(question: str, detail: str) -> bool:
    """Whether a part of a query's plan goes through a whole table, or through all a branch has in it."""
    if "branches" in detail:  # of which there is one
        return False
    first_is_enough = "LIMIT 1" in question or "max(" in question or "min(" in question
    return detail.startswith("SCAN") or (detail.endswith("(branch=?)") and not first_is_enough)


def test_what_a_reader_keeps_does_not_grow_with_the_steps_it_visits(path: Path) -> None:
    with closing(Record.open(path)) as record:
        for step in visited(STEPS):
            look_at(moment_at(record, Cursor(0, step, live=False)))
        seeker, known = record.session._seeker, record.requests()
        assert len(seeker._handed_out) == 2
        assert len(seeker._snapshots) <= seeker._most_snapshots
        assert len(known._chunks) <= 64


def look_at(moment: Moment) -> None:
    """Read what views read of a moment."""
    record = moment.record
    rows = moment.requests[:20]
    record.step_rows(moment.step - 32, moment.step + 1)
    record.step_counts(moment.step - 100, moment.step + 100)
    for row in rows[:5]:
        assert record.requests()[row.arrival].request == row.request
        assert moment.requests[moment.index_of(row.request) or 0].request == row.request
        record.phases(row.request)
        record.token_rows(row.request, row.prompt_tokens, row.prompt_tokens + 100)
    for block in range(0, BLOCKS, 500):
        record.latest_block_changes(block, moment.step, 20)
        record.block_given_out(block, moment.step)


@contextmanager
def asked(session: Session) -> Iterator[list[str]]:
    """The questions that the file is asked meanwhile."""
    found: list[str] = []

    def keep(sql: str) -> None:
        if sql.startswith("SELECT"):
            found.append(sql)

    session._connection.set_trace_callback(keep)
    try:
        yield found
    finally:
        session._connection.set_trace_callback(None)


class Numbered(Rows):
    """Rows of which only the arrival matters."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def row(self, index: int) -> RequestRow:
        return RequestRow(0, str(index), index, 0, 0, 1, None, "{}", 1, 0, 0, 0, "WAITING", 0)


@given(count=st.integers(0, 30), data=st.data())
def test_live_requests_come_first_then_the_latest_of_the_others(count: int, data: st.DataObject) -> None:
    live = sorted(data.draw(st.sets(st.integers(0, count - 1)))) if count else []
    ended = [arrival for arrival in reversed(range(count)) if arrival not in live]
    rows = LiveFirst(Numbered(count), live)
    assert [row.arrival for row in rows] == [*live, *ended]
    assert [rows.index_of(arrival) for arrival in [*live, *ended]] == list(range(count))
    assert rows.index_of(count) is rows.index_of(-1) is None
    assert [row.arrival for row in rows[1:4]] == [*live, *ended][1:4]
