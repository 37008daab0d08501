"""Branches and forks in a session file: every branch reads as if it had been the only one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine import keyframe
from engine.engine import Engine
from engine.execution import DetailsOf
from engine.forking import ForkSpec
from engine.params import SamplingParams
from engine.timeline import MemoryTimeline
from sessions.header import Header
from sessions.reader import Session
from sessions.timeline import SessionTimeline
from sessions.writer import Writer
from tests.recorded import engine_on, header, writer_on
from tests.scripted import spec
from tests.test_bookkeeping import requests
from tests.test_going_back import ACTIONS, act, check_kv


class Both(MemoryTimeline):
    """A sink that keeps everything in memory, and writes it to a session too."""

    def __init__(self, about: Header, writer: Writer) -> None:
        super().__init__(about.num_blocks, about.options)
        self.writer = writer

    def record(self, events: Sequence[ev.Event]) -> None:
        super().record(events)
        self.writer.record(events)

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:  # type: ignore[override]
        super().commit(events, details)
        self.writer.commit(events, details)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.wbs"


def recorded(path: Path, about: Header) -> tuple[Engine, Both, SessionTimeline]:
    path.unlink(missing_ok=True)
    writer = writer_on(path, about, keyframe_every=40)
    both = Both(about, writer)
    timeline = SessionTimeline(path, writer.write)
    return engine_on(both, about, timeline), both, timeline


def record_three_branches(path: Path, about: Header) -> None:
    """Branch 1 leaves 0 after step 6, branch 2 leaves 1 after step 9; with forks in 0 and in 1."""
    engine, both, timeline = recorded(path, about)
    engine.submit(spec(range(10), 14))
    engine.submit(spec([3] * 9, 3))
    engine.run(4)
    engine.fork(ForkSpec("1", 12, token=7))
    engine.run(6)
    engine.rewind(6)
    engine.submit(spec([1, 2, 3, 4, 5], 6))
    engine.run(5)
    engine.fork(ForkSpec("1", 6, prompt_ids=(1, 2)))
    engine.run(1)
    engine.rewind(9)
    engine.run()
    timeline.close()
    both.writer.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(requests, min_size=1, max_size=4), st.sampled_from([2, 4]), st.integers(4, 30), st.booleans(),
    st.data(),
)  # fmt: skip
def test_every_branch_reads_as_it_ran(path, batch, size, budget, lpm, data) -> None:
    """The engine goes back by what the file says, so a wrong file is a wrong run."""
    blocks = max(-(-(len(p) + m + 4) // size) + n for p, m, n, _ in batch) + 2
    about = header(blocks, block_size=size, token_budget=budget, policy="lpm" if lpm else "fcfs")
    engine, both, timeline = recorded(path, about)
    for prompt, count, n, priority in batch:
        engine.submit(spec(prompt, count, n, priority))
    for action in data.draw(st.lists(st.sampled_from(ACTIONS), max_size=25)):
        act(engine, both, action, data)
        check_kv(engine)
    engine.run(200)
    timeline.close()
    both.writer.close()
    with Session.open(path) as session:
        for branch in range(both.last_branch() + 1):
            check_branch(session, both, branch)


def check_branch(session: Session, both: MemoryTimeline, branch: int) -> None:
    said = list(both.events(branch, -1, 10_000))
    last = max(event.step for event in said)
    assert session.last_step(branch) == last
    for step in range(last + 1):
        past = both.at(branch, step)
        state = session.state_at(step, branch)
        assert keyframe.pack(state) == keyframe.pack(past.state)
        assert [row.event for row in session.events_of_step(step, branch)] == [e for e in said if e.step == step]
        read = session.past(step, branch)
        for request in past.tokens._tokens:
            assert list(read.tokens.tokens_of(request)) == list(past.tokens.tokens_of(request))
            assert read.tokens.asked(request) == past.tokens.asked(request)
    rows = session.requests(branch)
    assert [row.request for row in rows] == [e.request for e in said if isinstance(e, ev.Submitted | ev.Forked)]
    for row in rows:
        check_request(session, both.at(branch, last).tokens.tokens_of(row.request), row.request, branch, said)


def check_request(
    session: Session, tokens: Sequence[int], request: str, branch: int, said: Sequence[ev.Event]
) -> None:
    row = session.request(request, branch)
    assert list(session.tokens_of(request, branch)) == list(tokens)
    assert row.output_tokens == len(tokens) - row.prompt_tokens
    ends = [e for e in said if isinstance(e, ev.Finished) and e.request == request]
    assert (row.state == "FINISHED") == bool(ends)
    assert row.finished_step == (ends[-1].step if ends else None)
    phases = session.request_phases(request, branch)
    assert [phase.number for phase in phases] == list(range(len(phases)))
    assert all(a.last_step is not None and a.last_step < b.first_step for a, b in _pairs(phases))
    computed = {
        position: event.step
        for event in said
        if isinstance(event, ev.Computed)
        for work in event.batch
        if work.request == request
        for position in range(work.start, work.stop)
    }
    own = 0 if row.at_position is None else row.at_position
    for token in session.tokens(request, branch, own):
        assert token.computed_step == computed.get(token.position)


def _pairs(items: Sequence) -> Iterator[tuple]:
    return pairwise(items)


def test_a_fork_reads_as_a_request_of_its_own(path: Path) -> None:
    engine, both, _ = recorded(path, header(64, block_size=4))
    engine.submit(spec(range(10), 8))
    engine.run(5)
    fork = engine.fork(ForkSpec("1", 12, token=7))
    other = engine.fork(ForkSpec("1", 6, prompt_ids=(1, 2)))
    engine.run()
    both.writer.close()
    with Session.open(path) as session:
        row = session.request(fork)
        assert (row.parent, row.at_position, row.forked.changed) == ("1", 12, ("token",))
        assert list(session.tokens_of(fork)) == list(engine.tokens.tokens_of(fork))
        assert session.details(fork, 11) == session.details("1", 11)
        assert session.details(fork, 13).request == fork
        assert session.details(fork, 12) is None
        assert list(session.prompt_ids(other)) == [0, 1, 2, 3, 4, 5, 1, 2]
        assert session.request(other).forked.appended == (1, 2)


def test_a_copy_of_a_recording_goes_on_in_a_branch_of_its_own(path: Path, tmp_path: Path) -> None:
    about = header(20, block_size=4)
    engine, both, _ = recorded(path, about)
    engine.submit(spec(range(10), 12))
    engine.submit(spec([3] * 9, 5))
    engine.run()
    both.writer.close()
    before = path.read_bytes()
    copy = tmp_path / "copy.wbs"
    shutil.copy(path, copy)
    writer = Writer(copy)
    again = engine_on(writer, about, SessionTimeline(copy, writer.write))
    rewound = again.rewind(6)
    assert (rewound.branch, rewound.recomputed_tokens) == (1, 15 + 12)
    check_kv(again)
    again.run()
    writer.close()
    assert path.read_bytes() == before
    with Session.open(copy) as session:
        assert session.last_step(0) == engine.state.step
        for request in ("1", "2"):
            assert list(session.tokens_of(request, 1)) == list(engine.tokens.tokens_of(request))
        came_from = [(row.branch, row.parent, row.parent_step) for row in session.branches]
        assert came_from == [(0, None, None), (1, 0, 6)]


def test_draws_and_penalties_go_on_as_they_were(path: Path) -> None:
    """What explains tokens in the writer goes back with the engine: it refuses what it can't repeat."""
    engine, both, _ = recorded(path, header(64, block_size=4))
    params = SamplingParams(max_tokens=9, repetition_penalty=1.01)
    engine.submit(spec(range(5), 9).__class__((1, 2, 3), params))
    engine.run(6)
    engine.rewind(3)
    engine.run()
    both.writer.close()
    with Session.open(path) as session:
        assert len(session.tokens("1", 1)) == 9
        assert all(session.details("1", token.position, 1) is not None for token in session.tokens("1", 1))


def test_what_was_computed_again_later_is_read_as_it_was_before(path: Path) -> None:
    """Preempted and computed again at step 9, then back to step 6: there its KV is that of the first time."""
    engine, both, _ = recorded(path, header(64, block_size=4, prefix_cache=False))
    engine.submit(spec(range(5), 12))
    engine.run(7)
    engine.preempt("1")
    engine.run(2)
    engine.rewind(6)
    engine.step()
    both.writer.close()
    with Session.open(path) as session:
        assert [token.computed_step for token in session.tokens("1", 0)] == [8] * 7 + [9, None]
        assert [token.computed_step for token in session.tokens("1", 1)] == [2, 3, 4, 5, 6, 7, None]
