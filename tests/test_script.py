"""`record --script`: the debugger's commands without a screen, and assertions for somebody's CI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.debug.judging import judge
from engine.debug.said import Stop
from sessions.debug.console import Cursor, RecordConsole
from sessions.debug.recorded import Recording
from sessions.reader import Session
from tests.commands import Ran, run, spawn
from workbench.cli.result import read_result

PROMPTS = ("--prompt", "def fibonacci(n):", "--prompt", "class Foo:", "--max-tokens", 12)


def record(folder: Path, script: str, *arguments: object) -> Ran:
    path = folder / "commands.dbg"
    path.write_text(script)
    return run("record", *PROMPTS, "--script", path, "-o", folder / "run.wbs", *arguments)


def tokens(path: Path) -> list[tuple[str, int, int, int | None]]:
    with Session.open(path) as session:
        rows = [row for request in session.requests() for row in session.tokens(request.request)]
        return [(row.request, row.position, row.token, row.logits_hash) for row in rows]


def test_a_script_stops_looks_and_goes_on(tmp_path: Path) -> None:
    script = """
    # where it is unsure
    break if entropy > 1.5 and req == 1
    commands
        print text
        print prob(" return") < 0.5
    end
    tbreak at layer(1).attn_out if step == 2
    watch request(2).state
    continue
    continue
    continue
    x/2g layer(1).attn_out[req 2]
    print layer(1).attn_out.rms > 0
    finish
    """
    ran = record(tmp_path, script)
    lines = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert lines[4].startswith("watchpoint 3, step 1 is planned and not computed: request(2).state: missing → ")
    stop = lines.index(next(line for line in lines if line.startswith("breakpoint 1, after step 1, request 1")))
    assert lines[stop + 1].startswith('text = "')
    assert lines[stop + 2] == 'prob(" return") < 0.5 = true'
    inside = next(i for i, line in enumerate(lines) if line.startswith("temporary breakpoint 2, inside step 2"))
    assert lines[inside + 1] == "layer(1).attn_out[req 2 row 0], values 0 to 1"
    assert lines[inside + 3] == "layer(1).attn_out.rms > 0 = true"
    assert lines[-1].startswith("12 steps,")


def test_a_script_changes_nothing_that_it_does_not_say(tmp_path: Path) -> None:
    bare = run("record", *PROMPTS, "-o", tmp_path / "bare.wbs")
    assert bare.code == 0
    script = (
        "break if layer(3).mlp_out.rms > 0 and req == 2\ncatch nan\nwatch kv.used\nc\nc\nc\ndelete\nstep 40\nc\n"
    )
    assert record(tmp_path, script).code == 0
    assert tokens(tmp_path / "run.wbs") == tokens(tmp_path / "bare.wbs")


def test_looking_back_forks_and_rewinds_in_one_script(tmp_path: Path) -> None:
    script = """
    next 8
    break if pos == 12 and req == 1
    reverse-continue
    print entropy > 0
    last block(0).fill
    goto end
    select 1 14
    print entropy > 0
    force " self" 1 12
    preempt 2
    next
    rewind 3
    info queues
    continue
    branch 0
    quit
    """
    ran = record(tmp_path, script)
    assert ran.err == ""
    lines = ran.out.splitlines()
    assert lines[0] == "after step 8"
    assert lines[2].startswith("breakpoint 1, after step 4, request 1 position 12: ")
    assert lines[3] == "entropy > 0 = true"
    assert lines[4].startswith("block(0).fill: 11 → 12 in step 4")
    assert lines[5] == "block 0 was written last by request 1 in step 4"
    assert "queued the fork as request 3" in lines
    assert any(line.startswith("at step 3, in the new branch 1: ") for line in lines)
    with Session.open(tmp_path / "run.wbs") as session:
        assert [branch.branch for branch in session.branches] == [0, 1]
        assert session.last_step(1) == 4
        assert f"branch 0, step 4 of {session.last_step(0)}" in lines


@pytest.mark.parametrize(
    "line",
    ["watch kv.used", "break if entropy > 1.5", "watch token req 2", "catch preempt", "watch block(0).fill"],
)
def test_a_branch_is_looked_back_over_as_its_whole_history(tmp_path: Path, line: str) -> None:
    """From the end of a branch through what it continues: the same stops as going over its moments forwards."""
    script = "next 4\npreempt 2\nnext 3\nrewind 5\nselect 1\nforce 400 1 11\nnext 6\nquit\n"
    assert record(tmp_path, script).err == ""
    with Session.open(tmp_path / "run.wbs") as session:
        end = session.last_step(1)
        assert end == 11
        console = RecordConsole(session)
        console.line(line, Cursor(1, 0))
        (point,) = console.points(None)
        forward: list[Stop] = []
        for instant in Recording(session, 1).walk(1, end):
            if instant.when == "planned":
                point.met.clear()
            forward += (stop for _, stop in judge([point], instant).stops)
        if (forward[-1].step, forward[-1].when) == (end, "committed"):
            forward.pop()
        found, cursor = [], Cursor(1, end)
        while (shown := console.line("rc", cursor)).stop is not None:
            assert shown.goto is not None
            found.append(shown.stop)
            cursor = Cursor(*shown.goto)
        assert [(s.step, s.when, s.request, s.old, s.new) for s in reversed(found)] == [
            (s.step, s.when, s.request, s.old, s.new) for s in forward
        ]
        assert found


def test_captured_logits_give_the_record_what_the_engine_knew(tmp_path: Path) -> None:
    """Ranks, logits and probabilities of tokens beyond the record's twenty, with a temperature and a filter."""
    names = [f"{kind}({token})" for kind in ("rank", "logit", "prob") for token in (3, 77, 400, 1000)]
    script = ["tbreak if req == 1 and pos == 12", "c", *(f"print {name}" for name in names)]
    path = tmp_path / "commands.dbg"
    path.write_text("\n".join(script))
    sampled = ("--temperature", 0.7, "--top-k", 200, "--capture", "logits", "--json")
    ran = run("record", *PROMPTS, *sampled, "--script", path, "-o", tmp_path / "run.wbs")
    assert ran.code == 0
    told = [json.loads(line) for line in ran.out.splitlines()]
    live = [value for each in told if each.get("type") == "answer" for value in each.get("values", ())]
    assert [value["name"] for value in live] == names
    with Session.open(tmp_path / "run.wbs") as session:
        console = RecordConsole(session)
        for value in live:
            found = console.line(f"print {value['name']}", Cursor(0, 9, "1", 12)).values[0]
            assert found.value == pytest.approx(value["value"], rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--assert", "entropy < 100", "--assert", "kv.free > 0"), 0, ""),
        (
            ("--assert", "entropy < 1.5"),
            1,
            "failed, after step 1, request 1 position 9: entropy < 1.5  (entropy 2.",
        ),
        (
            ("--assert", "kv.used < 2"),
            1,
            "failed, step 1 is planned and not computed: kv.used < 2  (kv.used 2)",
        ),
        (
            ("--assert", "layer(0).q.rms < 0"),
            1,
            "failed, inside step 1 at layer(0).q, request 1: layer(0).q.rms < 0  (",
        ),
        (("--assert", "hit_rate >= 0 and accept_rate > 0"), 1, "accept_rate missing"),
    ],
)
def test_a_condition_that_must_hold_throughout(tmp_path: Path, arguments: Any, code: int, told: str) -> None:
    ran = run("record", *PROMPTS, "-o", tmp_path / "run.wbs", *arguments)
    assert ran.code == code
    assert told in ran.err
    assert len(ran.err.splitlines()) == code
    assert ran.out.splitlines()[-1].startswith("12 steps,"), "the run goes on to its end all the same"


def test_an_assertion_in_a_script_says_where_and_with_which_values(tmp_path: Path) -> None:
    ran = record(tmp_path, "next 2\nassert step == 2\nassert kv.used > 5 and queue.running == 2\n")
    assert ran.code == 1
    assert ran.err.endswith(
        "commands.dbg: line 3: assertion failed, step 2: kv.used > 5 and queue.running == 2"
        "  (kv.used 2, queue.running 2)\n"
    )


def test_json_is_an_object_a_line(tmp_path: Path) -> None:
    ran = record(tmp_path, "tbreak if req == 2 and pos == 5\nc\nprint entropy > 0\nassert step == 0\n", "--json")
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert [each.get("type") for each in told] == ["answer", "stop", "answer", "assertion", None]
    assert (told[1]["step"], told[1]["request"], told[1]["position"], told[1]["when"]) == (3, "2", 5, "committed")
    assert told[2]["values"] == [{"name": "entropy > 0", "value": True, "text": "true"}]
    assert told[4]["steps"] == 12
    assert ran.code == 1


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (
            "continue\nbreak if entroy > 3\n",
            "line 2: column 10: there is no name 'entroy'; near it: entropy, varentropy",
        ),
        ("brek if entropy > 3\n", "line 1: there is no command 'brek'; near it: break"),
        ("break\ncommands\nprint text\n", "line 2: these commands have no `end`"),
        ("break\ncommands\nprint txt\nend\n", "line 2: column 7: there is no name 'txt'"),
        ("print layer(9).q.rms\n", "line 1: column 13: there is no layer 9: the model has 6"),
        ('print rank("several words of text")\n', 'line 1: column 12: "several words of text" is'),
    ],
)
def test_a_script_is_checked_before_anything_runs(tmp_path: Path, script: str, error: str) -> None:
    ran = record(tmp_path, script)
    assert (ran.code, ran.out) == (2, "")
    assert error in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "run.wbs").exists()


def test_the_result_is_that_of_the_branch_the_engine_ended_in(tmp_path: Path) -> None:
    ran = record(tmp_path, 'next 8\nrewind 5\nforce " self" 1 12\n', "--json")
    assert (ran.code, ran.err) == (0, "")
    result = json.loads(ran.out.splitlines()[-1])
    with Session.open(tmp_path / "run.wbs") as session:
        steps = session.last_step(1)
        chosen = len(list(session.query("SELECT seq FROM events WHERE type = 'token'").rows))
        tokens = [list(session.tokens_of(name, 1))[-3:] for name in ("1", "2", "3")]
    assert (result["branch"], result["steps"]) == (1, steps)
    assert steps > 8
    assert read_result(tmp_path / "run.wbs", seconds=1).tokens_per_s == chosen
    assert [each["output_ids"][-3:] for each in result["requests"]] == tokens
    assert [each["parent"] for each in result["requests"]] == [None, None, "1"]
    assert [each["finish_reason"] for each in result["requests"]] == ["length"] * 3

    shown = run("sessions", "show", tmp_path / "run.wbs")
    assert "2; below is branch 1, the latest" in shown.out
    details = json.loads(run("sessions", "show", tmp_path / "run.wbs", "--json").out)
    assert details["requests"] == result["requests"]
    assert (details["summary"]["branches"], details["summary"]["steps"]) == (2, steps)


def test_a_command_that_cannot_be_carried_out_ends_the_script(tmp_path: Path) -> None:
    ran = record(tmp_path, "next\nabort 9\n")
    assert ran.code == 2
    assert ran.err.endswith("commands.dbg: line 2: request 9 is not live: there is nothing to abort\n")
    with Session.open(tmp_path / "run.wbs") as session:
        assert session.last_step() == 1


def test_a_script_on_standard_input_may_bring_the_requests(tmp_path: Path) -> None:
    lines = 'submit "def f(" max_tokens=3\nnext\nprint pos\n'
    ran = spawn("record", "--script", "-", "-o", tmp_path / "run.wbs", stdin=lines)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[:3] == ["queued request 1", "after step 1", f"pos = {ran_prompt(tmp_path)}"]


def ran_prompt(folder: Path) -> int:
    with Session.open(folder / "run.wbs") as session:
        return session.request("1").prompt_tokens
