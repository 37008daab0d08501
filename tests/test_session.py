"""What is recorded can be read back: the state of every step, and every table the views ask."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine.details import TokenDetails
from engine.engine import Engine, StepFailedError
from sessions import schema
from sessions.blocks import CHANGES_OF_STEP
from sessions.event_log import EventFilter
from sessions.keyframes import nearest_keyframe
from sessions.reader import Session
from sessions.records import BlockChange, Notable, Phase, RequestRow, StepRow, TokenRow
from tests.fold_process import digest
from tests.recorded import DEMO_HEADER, engine_on, header, record_demo, run_demo, writer_on
from tests.scripted import spec


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, Engine]]:
    path = tmp_path_factory.mktemp("session") / "demo.wbs"
    engine = record_demo(path, keyframe_every=60)
    with Session.open(path) as session:
        yield session, engine


@pytest.fixture(scope="module")
def fold_elsewhere() -> Iterator[Callable[[Path, int], str]]:
    """The digest of a state folded from a session file by another process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fold_process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def ask(path: Path, step: int) -> str:
        print(path, step, sep="\t", file=stdin, flush=True)
        return stdout.readline().strip()

    yield ask
    stdin.close()
    process.wait()
    stdout.close()


prompts = st.builds(
    lambda prefix, rest: [*prefix, *rest],
    st.sampled_from([list(range(10)), [*range(10), 7, 7, 7, 7], [3] * 17]),
    st.lists(st.integers(0, 5), max_size=9),
)
requests = st.builds(spec, prompts, st.integers(1, 10), st.sampled_from([1, 1, 2]), st.integers(0, 1))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    arrivals=st.lists(st.tuples(requests, st.integers(0, 12)), min_size=2, max_size=6),
    keyframe_every=st.sampled_from([5, 40, 5000]),
    slack=st.integers(1, 10),
)
def test_another_process_folds_the_engines_state_after_every_step(
    fold_elsewhere, arrivals, keyframe_every, slack
) -> None:
    blocks = max(-(-(len(s.prompt_ids) + s.params.max_tokens) // 4) + s.n for s, _ in arrivals) + slack
    about = header(blocks, block_size=4, token_budget=16, max_running=4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.wbs"
        writer = writer_on(path, about, keyframe_every)
        engine = engine_on(writer, about)
        pending = sorted(arrivals, key=lambda arrival: arrival[1])
        expected = {}
        while pending or engine.busy:
            while pending and (pending[0][1] <= engine.state.step or not engine.busy):
                engine.submit(pending.pop(0)[0])
                writer.write()
                expected[engine.state.step] = digest(engine.state)
            engine.step()
            expected[engine.state.step] = digest(engine.state)
            assert fold_elsewhere(path, engine.state.step) == digest(engine.state)
        writer.close()
        for step in sorted(expected, reverse=True)[::3]:
            assert fold_elsewhere(path, step) == expected[step]


def test_a_step_and_the_one_before_can_be_compared_while_moving_either_way(demo) -> None:
    session, _ = demo
    digests = [digest(session.state_at(step)) for step in range(session.last_step() + 1)]
    assert len(set(digests)) == len(digests)
    for step in [*range(1, session.last_step() + 1), *range(session.last_step(), 0, -1)]:
        before, after = session.state_at(step - 1), session.state_at(step)
        assert (digest(before), digest(after)) == (digests[step - 1], digests[step])


def test_the_last_state_is_the_engines(demo) -> None:
    session, engine = demo
    assert digest(session.state_at(session.last_step())) == digest(engine.state)


def test_no_step_needs_more_events_than_lie_between_keyframes(demo) -> None:
    session, _ = demo
    for step in range(session.last_step() + 1):
        rows = session.events_of_step(step)
        nearest = nearest_keyframe(session._connection, 0, rows[-1].seq)
        assert rows[-1].seq - (nearest.seq if nearest else 0) < 60


def test_keyframes_share_the_pages_that_did_not_change(tmp_path) -> None:
    about = header(20_000, block_size=4)
    writer = writer_on(tmp_path / "run.wbs", about, keyframe_every=100)
    engine = engine_on(writer, about)
    engine.submit(spec(range(20), 100))
    engine.run()
    writer.close()
    with closing(sqlite3.connect(tmp_path / "run.wbs")) as connection:
        rows = connection.execute("SELECT columns FROM keyframes ORDER BY seq").fetchall()
    first, second = (msgspec.msgpack.decode(columns) for (columns,) in rows[:2])
    assert first.keys() == second.keys()
    changed = {name for name in first if first[name] != second[name]}
    assert "fill/0" in changed
    assert "free/0" in changed
    assert not any(name.endswith("/4") for name in changed)
    assert len(changed) < len(first) / 2


def test_stepping_forward_folds_on(demo) -> None:
    session, _ = demo
    older, newer = session.state_at(10), session.state_at(11)
    assert session.state_at(12) is older
    assert session.state_at(13) is newer


def test_steps_carry_the_counts_of_the_state_and_the_batch(demo) -> None:
    session, _ = demo
    for row in session.step_rows(1, session.last_step()):
        if row.last_seq < session.events_of_step(row.step)[-1].seq:
            continue  # something was said after it, before the next step
        state = session.state_at(row.step)
        assert (row.running, row.waiting + row.preempted) == (len(state.running), len(state.waiting))
        assert row.preempted == sum(r.state == "PREEMPTED" for r in state.requests.values())
        assert row.free_blocks + row.cached_blocks + row.owned_blocks == DEMO_HEADER.num_blocks
        assert row.owned_blocks == state.blocks.owned
        assert row.tokens == sum(work.tokens for work in row.works) == row.prefill_tokens + row.decode_tokens
        assert row.output_tokens == state.totals.output_tokens
        [counts] = session.step_counts(row.step, row.step)
        assert counts == (row.step, len(state.waiting), row.running, row.tokens, row.owned_blocks)
        plan = next(r.event for r in session.events_of_step(row.step) if isinstance(r.event, ev.Scheduled))
        assert row.works == plan.batch


def test_requests_say_how_they_ended(demo) -> None:
    session, engine = demo
    rows = {row.request: row for row in session.requests()}
    assert {row.state for row in rows.values()} == {"FINISHED"}
    assert {row.finish_detail for row in rows.values()} == {"max_tokens", "aborted", "does_not_fit"}
    assert any(row.preemptions for row in rows.values())
    for id_, row in rows.items():
        tokens = engine.tokens.tokens_of(id_)
        assert list(session.tokens_of(id_)) == list(tokens)
        assert row.output_tokens == len(tokens) - row.prompt_tokens == len(session.tokens(id_))
        assert row.output_text == "".join(f"<{token}>" for token in tokens[row.prompt_tokens :])
        assert row.sampling.max_tokens >= row.output_tokens
        assert list(session.prompt_ids(id_)) == list(tokens[: row.prompt_tokens])


def test_a_tokens_own_kv_is_written_by_the_step_that_computed_its_position(demo) -> None:
    session, _ = demo
    computed: dict[tuple[str, int], int] = {}
    for row in session.events():
        if isinstance(row.event, ev.Computed):
            for work in row.event.batch:
                computed |= {(work.request, at): row.event.step for at in range(work.start, work.stop)}
    for request in session.requests():
        for position in range(request.prompt_tokens + request.output_tokens):
            step = session.computed_step(request.request, position)
            assert step == computed.get((request.request, position))
        newest = session.token(request.request, request.prompt_tokens + request.output_tokens - 1)
        assert newest is None or newest.computed_step is None


def test_tokens_and_details_agree(demo) -> None:
    session, _ = demo
    for request in session.requests():
        for row in session.tokens(request.request):
            about = session.details(request.request, row.position)
            assert isinstance(about, TokenDetails)
            assert (about.token, about.rank, about.raw_logprob) == (row.token, row.rank, row.raw_logprob)
            assert row.logits_hash is not None
            assert about.logits_hash == row.logits_hash % (1 << 64)
    assert session.details("1", 0) is None


def test_phases_follow_one_another_and_match_the_batches(demo) -> None:
    session, _ = demo
    batches = {row.step: row.works for row in session.step_rows(1, session.last_step())}
    names = set()
    for request in session.requests():
        phases = session.request_phases(request.request)
        names.update(phase.phase for phase in phases)
        assert [phase.number for phase in phases] == list(range(len(phases)))
        for before, after in pairwise(phases):
            assert before.last_step is not None
            assert after.first_step in (before.last_step + 1, before.last_step + 2)
        for step, works in batches.items():
            ran = {work.phase for work in works if work.request == request.request}
            here = {p.phase for p in phases if p.first_step <= step <= (p.last_step or 0)}
            assert ran <= here
    assert names == {"waiting", "prefill", "decode", "preempted"}


def test_block_history_ends_in_the_state_of_the_block(demo) -> None:
    session, _ = demo
    for step in range(session.last_step() + 1):
        state = session.state_at(step)
        for block in range(DEMO_HEADER.num_blocks):
            change = session.last_change(block, step)
            seen = ("free", 0) if change is None else (change.state, change.ref_count)
            assert seen == (state.blocks.state(block), state.blocks.ref_count[block])
    assert session.latest_changes(3, 99, 2) == session.block_history(3)[:-3:-1]
    changes = [change for step in range(session.last_step() + 1) for change in session.block_changes(step)]
    histories = [change for block in range(DEMO_HEADER.num_blocks) for change in session.block_history(block)]
    assert sorted(changes, key=lambda c: (c.block, c.seq)) == histories


def test_the_changes_of_a_step_are_found_by_it(demo) -> None:
    """Not by reading all of the branch, which a long session has millions of."""
    session, _ = demo
    with closing(sqlite3.connect(session.path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {CHANGES_OF_STEP}", (0, 3)).fetchall()
    assert "blocks_of_step (branch=? AND step=?)" in plan[0][3]


def test_notable_steps_can_be_walked_both_ways(demo) -> None:
    session, _ = demo
    notable = session.notable_steps(1, session.last_step())
    steps = [step for step, _ in notable]
    assert {mark for _, marks in notable for mark in marks} == set(Notable) - {Notable.FAILED}
    walked, at = [], 0
    while (found := session.next_notable(at)) is not None:
        at = found
        walked.append(at)
    assert walked == steps
    assert session.previous_notable(steps[1]) == steps[0]
    assert session.previous_notable(steps[0]) is None


def test_decisions_of_a_step_carry_their_code_and_numbers(demo) -> None:
    session, _ = demo
    decided = [d for step in range(session.last_step() + 1) for d in session.decisions(step)]
    table = list(session.query("SELECT seq, code, numbers FROM decisions ORDER BY seq").rows)
    assert [(d.seq, d.code) for d in decided] == [(seq, code) for seq, code, _ in table]
    preempted = next(numbers for _, code, numbers in table if code == "needed_blocks")
    assert {"for_request", "need", "free", "evictable", "others"} <= json.loads(preempted).keys()


def test_the_event_log_is_a_list_filtered_or_not(demo) -> None:
    session, _ = demo
    everything = session.events()
    rows = everything.rows(0, len(everything))
    assert [row.seq for row in rows] == list(range(1, session.last_seq + 1))
    assert everything[4] == rows[4]
    assert everything.rows(len(everything) - 2, len(everything) + 5) == rows[-2:]
    for wanted, passes in [
        (EventFilter(types=frozenset({"token", "evicted"})), lambda e: isinstance(e, ev.Token | ev.Evicted)),
        (EventFilter(request="5"), lambda e: b'"5"' in ev.encode(e)),
        (EventFilter(text="NEED_"), lambda e: b"need_" in ev.encode(e).lower()),
        (EventFilter(steps=(3, 5)), lambda e: 3 <= e.step <= 5),
    ]:  # fmt: skip
        view = session.events(wanted)
        while not view.scan(50):
            assert not view.complete
        expected = [row for row in rows if passes(row.event)]
        assert view.rows(0, len(view)) == expected
        assert expected
        assert view.row_of(expected[-1].seq) == len(expected) - 1


def test_candidates_are_rows_to_sql_with_the_value_at_each_stage(demo) -> None:
    session, _ = demo
    rows = list(
        session.query(
            "SELECT place, token, text, raw, prob FROM candidates"
            " WHERE request = '1' AND position = 12 ORDER BY place"
        ).rows
    )
    about = session.details("1", 12)
    assert about is not None
    assert [row[1] for row in rows] == list(about.candidates.ids)
    assert [row[3] for row in rows] == list(about.candidates.raw)
    assert rows[0][:3] == (1, about.token, f"<{about.token}>")


RECORDS = {"steps": StepRow, "requests": RequestRow, "tokens": TokenRow, "phases": Phase, "blocks": BlockChange}


@pytest.mark.parametrize(("table", "record"), RECORDS.items())
def test_records_have_the_columns_of_their_table(demo, table, record) -> None:
    session, _ = demo
    columns = [row[1] for row in session._connection.execute(f"PRAGMA table_info({table})")]
    assert columns == list(record.__struct_fields__)


def test_every_table_is_listed_as_plain_or_packed(demo) -> None:
    session, _ = demo
    names = {name for (name,) in session.query("SELECT name FROM sqlite_master WHERE type = 'table'").rows}
    assert names == schema.TABLES


def test_the_header_comes_back_as_it_was(demo) -> None:
    session, _ = demo
    assert session.header == DEMO_HEADER


def test_a_step_without_an_end_is_rolled_back(tmp_path) -> None:
    writer = writer_on(tmp_path / "run.wbs", DEMO_HEADER)
    engine = engine_on(writer, DEMO_HEADER)
    engine.submit(spec(range(9), 6))
    engine.run(2)
    engine.begin()
    writer.close()
    with Session.open(tmp_path / "run.wbs") as session:
        assert session.last_step() == 2
        assert session.step_under_way() == 3
        assert session.state_under_way().batch == engine.state.batch
        rolled_back = session.state_at(3)
        rolled_back.check_invariants()
        assert rolled_back.requests["1"].state == "WAITING"
        engine.state.roll_back()
        assert digest(rolled_back) == digest(engine.state)
        assert digest(session.state_at(2)) != digest(rolled_back)


def test_a_failed_step_is_recorded_as_such(tmp_path) -> None:
    writer = writer_on(tmp_path / "run.wbs", DEMO_HEADER)
    engine = engine_on(writer, DEMO_HEADER)

    def fault() -> None:
        raise RuntimeError("injected")

    engine.submit(spec(range(9), 6))
    engine.run(2)
    engine._executor.fault = fault
    for _ in range(2):
        with pytest.raises(StepFailedError):
            engine.step()
    writer.close()
    with Session.open(tmp_path / "run.wbs") as session:
        row = session.step_row(3)
        assert row is not None
        assert row.error == "RuntimeError: injected"
        assert row.notable & Notable.FAILED
        assert session.request("1").finish_detail == "step_failed"
        assert digest(session.state_at(4)) == digest(engine.state)


def test_a_branch_starts_where_it_left_its_parent(tmp_path) -> None:
    """The reader follows branches; writing them is the engine's to come."""
    path = tmp_path / "run.wbs"
    record_demo(path)
    connection = sqlite3.connect(path)
    last = connection.execute("SELECT max(seq) FROM events").fetchone()[0]
    connection.execute("INSERT INTO branches VALUES (1, 0, 9, 'rewind')")
    line = connection.execute("SELECT data FROM events WHERE type = 'submitted'").fetchone()[0]
    event = json.loads(line) | {"branch": 1, "step": 9, "request": "99", "arrival": 99}
    connection.execute("INSERT INTO events VALUES (?, 1, 9, 'submitted', '99', ?)", (last + 1, json.dumps(event)))
    connection.commit()
    connection.close()
    with Session.open(path) as session:
        assert [branch.cause for branch in session.branches] == ["start", "rewind"]
        state = session.state_at(9, branch=1)
        assert state.requests.keys() == session.state_at(9).requests.keys() | {"99"}


def test_reading_while_it_grows(tmp_path) -> None:
    writer = writer_on(tmp_path / "run.wbs", DEMO_HEADER)
    with Session.open(tmp_path / "run.wbs") as session:
        assert session.last_step() == 0
        assert not session.refresh()
        engine = engine_on(writer, DEMO_HEADER)
        run_demo(engine)
        assert session.refresh()
        assert session.last_step() == engine.state.step
        assert digest(session.state_at(engine.state.step)) == digest(engine.state)
        log = session.events(EventFilter(types=frozenset({"finished"}))).scan_all()
        assert len(log) == len(session.requests())
    writer.close()
