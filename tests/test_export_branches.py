"""Exports of a session with branches and forks: one line of history, as if it had been the only one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from engine import events as ev
from engine.state import State
from sessions.export import FORMATS, ExportOptions, export_session
from sessions.export.opening import open_excerpt
from sessions.export.report.packing import unpack
from sessions.reader import Session
from sessions.redaction import redact
from tests.recorded import header
from tests.test_branches import record_three_branches
from tests.test_export_html import check_blocks, data_of
from workbench.exporting import ASCIICAST

ABOUT = header(40, block_size=4, token_budget=16)
BRANCHES = (0, 1, 2)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("branches") / "run.wbs"
    record_three_branches(path, ABOUT)
    return path


@pytest.mark.parametrize("branch", BRANCHES)
def test_events_of_a_branch_fold_to_its_state(path, tmp_path, branch) -> None:
    export_session(path, "jsonl", tmp_path / "a.jsonl", ExportOptions(branch=branch))
    state = State.at_start(ABOUT.num_blocks, ABOUT.options)
    state.apply_all([ev.decode(line) for line in (tmp_path / "a.jsonl").read_bytes().splitlines()[1:]])
    with Session.open(path) as session:
        expected = session.state_at(session.last_step(branch), branch)
    assert state.blocks.ref_count == expected.blocks.ref_count
    assert state.blocks.node == expected.blocks.node
    assert state.requests.keys() == expected.requests.keys()


@pytest.mark.parametrize("branch", BRANCHES)
def test_tables_of_a_branch_have_each_row_once(path, tmp_path, branch) -> None:
    export_session(path, "sqlite", tmp_path / "a.sqlite", ExportOptions(branch=branch))
    with Session.open(path) as session, sqlite3.connect(tmp_path / "a.sqlite") as tables:
        steps = [step for (step,) in tables.execute("SELECT step FROM steps ORDER BY step")]
        assert steps == list(range(1, session.last_step(branch) + 1))
        names = [name for (name,) in tables.execute("SELECT request FROM requests ORDER BY arrival")]
        assert names == [row.request for row in session.requests(branch)]
        for name in names:
            found = tables.execute("SELECT token FROM tokens WHERE request = ? ORDER BY position", (name,))
            assert [token for (token,) in found] == [row.token for row in session.tokens(name, branch)]
            phases = tables.execute(
                "SELECT phase, first_step FROM phases WHERE request = ? ORDER BY number", (name,)
            )
            expected = [(phase.phase, phase.first_step) for phase in session.request_phases(name, branch)]
            assert phases.fetchall() == expected
            prompt = tables.execute(
                "SELECT token FROM prompt_tokens WHERE request = ? ORDER BY position", (name,)
            )
            assert [token for (token,) in prompt] == list(session.prompt_ids(name, branch))


def test_the_latest_branch_is_taken_and_the_others_are_said_to_be_left_out(path) -> None:
    with open_excerpt(path, ExportOptions()) as excerpt:
        assert excerpt.branch == 2
        [said] = excerpt.left_out
        assert said == "branch 0 after step 6, branch 1 after step 9: this is the history of branch 2"
    with open_excerpt(path, ExportOptions(branch=0)) as excerpt:
        [said] = excerpt.left_out
        assert said == "branch 1, branch 2: this is the history of branch 0"


@pytest.mark.parametrize("branch", BRANCHES)
def test_the_page_of_a_branch_shows_its_tokens(path, tmp_path, branch) -> None:
    export_session(path, "html", tmp_path / "a.html", ExportOptions(branch=branch))
    data = data_of((tmp_path / "a.html").read_text(encoding="utf-8"))
    with Session.open(path) as session:
        assert unpack(data["steps"])["step"] == list(range(1, session.last_step(branch) + 1))
        for part in data["requests"]:
            rows = session.tokens(part["request"], branch)
            assert unpack(part["output"])["token"] == [row.token for row in rows]
            row = session.request(part["request"], branch)
            assert (part["parent"], part["at_position"]) == (row.parent, row.at_position)
            assert part["appended"] == (len(row.forked.appended) if row.forked else 0)


@pytest.mark.parametrize("branch", BRANCHES)
def test_the_page_of_a_branch_replays_its_blocks(path, branch) -> None:
    check_blocks(path, ExportOptions(branch=branch))


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_redacted_branch_keeps_its_structure(path, tmp_path, branch) -> None:
    shutil.copyfile(path, tmp_path / "redacted.wbs")
    redact(tmp_path / "redacted.wbs")
    with Session.open(path) as before, Session.open(tmp_path / "redacted.wbs") as after:
        for step in range(before.last_step(branch) + 1):
            one, other = before.state_at(step, branch), after.state_at(step, branch)
            assert one.blocks.ref_count == other.blocks.ref_count
            assert one.blocks.node == other.blocks.node
        for row in before.requests(branch):
            hidden = after.request(row.request, branch)
            assert (hidden.parent, hidden.at_position, hidden.output_tokens) == (
                row.parent, row.at_position, row.output_tokens,
            )  # fmt: skip
            assert (row.forked is None) == (hidden.forked is None)
            if row.forked is not None:
                assert hidden.forked.changed == row.forked.changed
                assert len(hidden.forked.appended) == len(row.forked.appended)
                at = row.at_position
                appended = list(after.tokens_of(row.request, branch))[at : at + len(row.forked.appended)]
                assert appended == list(hidden.forked.appended)


@pytest.mark.parametrize("to", [*FORMATS, "asciicast"])
def test_every_format_takes_a_branch(path, tmp_path, to) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow")
    if to == "safetensors":
        pytest.skip("a scripted run captures no tensors")
    options = ExportOptions(branch=1, redact=True, steps="5:8" if to == "asciicast" else None)
    left_out = export_session(path, ASCIICAST if to == "asciicast" else to, tmp_path / "a.zip", options)
    assert any("history of branch 1" in line for line in left_out)


def test_a_fork_is_drawn_with_the_text_of_the_request_it_left(path, tmp_path) -> None:
    export_session(path, "jsonl", tmp_path / "a.jsonl", ExportOptions(redact=True, branch=0))
    events = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    [fork] = [event for event in events if event["type"] == "forked"]
    assert (fork["at_position"], len(fork["appended"]), fork["changed"]) == (12, 1, ["token"])
