"""`explain` on recorded sessions: what it says, on the screen's side without torch."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from engine import reasons as why_
from engine.engine import Engine, StepFailedError
from engine.forking import ForkSpec
from engine.reasons import FinishDetail, Reason, WaitReason
from engine.wording import past
from sessions.explain import explain_requests, explain_run, harmless_text
from sessions.explain_facts import JUST_PREEMPTED, Copies, Life, Other, Preemption
from sessions.explain_history import History
from sessions.explain_words import time_words, told, told_run
from sessions.reader import Session
from sessions.simulate_check import verify
from sessions.simulate_inputs import read_inputs
from sessions.simulate_words import NOT_KNOWN
from tests.commands import ROOT, run
from tests.recorded import DEMO_HEADER, engine_on, header, record_demo, run_demo, writer_on
from tests.scripted import ScriptedExecutor, spec
from tests.test_branches import record_three_branches
from tests.test_branches import recorded as record_branches

GOLDEN = ROOT / "tests" / "golden" / "explain.txt"
TIME = re.compile(r"\d[\d.,]* (µs|ms|s)\b")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain") / "run.wbs"
    record_demo(path, keyframe_every=50)
    return path


def untimed(text: str) -> str:
    """Without what a clock says: a scripted run claims more time inside its steps than really passes."""
    return TIME.sub("T", text).replace(", T of that inside steps", "")


def test_the_demo_reads_as(session: Path) -> None:
    """Chunks, evictions, preemptions, samples, a refusal, an abort; WORKBENCH_WRITE_FRAMES=1 writes it anew."""
    said = untimed(run("explain", session).out)
    if os.environ.get("WORKBENCH_WRITE_FRAMES"):
        GOLDEN.write_text(said, encoding="utf-8")
    assert said == GOLDEN.read_text(encoding="utf-8")


def test_one_request_is_told_as_among_all(session: Path) -> None:
    """Read from its arrival to its end only, from the nearest keyframe on."""
    with Session.open(session) as opened:
        lives = explain_run(opened).lives
        assert [life.request for life in lives] == [row.request for row in opened.requests()]
        for life in lives:
            assert explain_requests(opened, [life.request]) == [life]


def recorded(path: Path, about=DEMO_HEADER, drive=run_demo) -> Session:
    writer = writer_on(path, about)
    drive(engine_on(writer, about))
    writer.close()
    return Session.open(path)


def sentences(session: Session, request: str) -> list[str]:
    with session:
        [life] = explain_requests(session, [request])
        return [untimed(sentence) for sentence in told(life, harmless_text(session))]


def test_a_match_that_ended_inside_a_block_names_both_tokens(tmp_path: Path) -> None:
    def drive(engine: Engine) -> None:
        for prompt in ([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6, 0, 8, 9]):
            engine.submit(spec(prompt, 2))
            engine.run()

    said = sentences(recorded(tmp_path / "a.wbs", header(block_size=4), drive), "2")
    assert said[1] == (
        "It was admitted in step 3: 4 of 9 prompt tokens matched the cache, stopped because token 6 is '<0>' and"
        " the cached one is '<7>' (block 1, computed by request 1). Of what the pool held then, 2 more in blocks"
        " of 2 would have matched."
    )


def test_a_whole_cached_prompt_still_computes_its_last_token(tmp_path: Path) -> None:
    def drive(engine: Engine) -> None:
        for _ in range(2):
            engine.submit(spec([1, 2, 3, 4, 5, 6, 7, 8], 2))
            engine.run()

    said = sentences(recorded(tmp_path / "a.wbs", header(block_size=4), drive), "2")
    assert said[1] == (
        "It was admitted in step 3: 4 of 8 prompt tokens matched the cache, stopped because the last token must"
        " be computed, though the block at position 4 was cached too. Of what the pool held then, 2 more in"
        " blocks of 2 and 3 more in blocks of 1 would have matched."
    )


def test_a_fork_is_told_with_what_it_shares_and_what_was_done_by_hand(tmp_path: Path) -> None:
    """Read alone or among all, which takes its tokens from the tables or from the events."""

    def drive(engine: Engine) -> None:
        engine.submit(spec(range(10), 12))
        engine.run(4)
        engine.fork(ForkSpec("1", 12, token=3))
        engine.run(2)
        engine.preempt("2")
        engine.run()

    with recorded(tmp_path / "a.wbs", header(30, block_size=16), drive) as session:
        lives = explain_run(session).lives
        assert [explain_requests(session, [life.request]) for life in lives] == [[life] for life in lives]
    assert sentences(Session.open(session.path), "2")[:5] == [
        "Request 2 arrived after step 4: a fork of request 1 from position 12 on with another token, 10 prompt"
        " tokens, at most 12 to generate, greedy.",
        "It was admitted in step 5: 12 of 13 tokens were in the blocks of request 1.",
        "It was preempted in step 6 because a person or a script asked for it. It gave up 1 block with the KV of"
        " 14 tokens; 2 of them were gone when it resumed in step 7.",
        "It resumed in step 7: 12 of 15 tokens were in the blocks of request 1.",
        "2 shared blocks (24 tokens) were copied on write.",
    ]


@pytest.fixture
def branches(tmp_path: Path) -> Path:
    path = tmp_path / "branches.wbs"
    record_three_branches(path, header(40, block_size=4, token_budget=16))
    return path


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_a_branch_is_told_from_its_parents_steps_on(branches: Path, branch: int) -> None:
    """What was done after the step that it went back to is no part of it."""
    with Session.open(branches) as session:
        run_ = explain_run(session, branch)
        assert {life.request for life in run_.lives} == {row.request for row in session.requests(branch)}
        assert run_.totals.steps == session.last_step(branch)
        last = session.step_row(session.last_step(branch), branch)
        assert last is not None
        assert run_.totals.computed_tokens == last.computed_tokens
        assert run_.totals.output_tokens == last.output_tokens
        for life in run_.lives:
            assert explain_requests(session, [life.request], branch) == [life]
        history = History(session, branch)
        assert verify(read_inputs(history.events()), session.header, history.events()).reproduced


def test_what_going_back_cost_is_told(tmp_path: Path) -> None:
    """The first rewind finds KV overwritten, the second, exact one runs steps again."""
    path = tmp_path / "back.wbs"
    engine, both, timeline = record_branches(path, header(6, block_size=4, token_budget=16))
    for first in (0, 5):
        engine.submit(spec(range(first, first + 9), 12))
    engine.run()
    engine.rewind(5)
    engine.run(2)
    engine.rewind(3, exact=True)
    engine.run()
    timeline.close()
    both.writer.close()

    with Session.open(path) as session:
        whole = explain_run(session, 1)
        (went,) = whole.totals.went_back
        assert went.recomputed_tokens > 0
        assert told_run(whole.totals)[-1] == (
            f"The engine went back once: {went.recomputed_tokens} tokens computed again and 0 steps run again"
            " for it."
        )
        (life,) = explain_requests(session, ["1"], 1)
        assert (
            f"The engine went back to the end of step 5, with the KV of {went.recomputed_tokens} tokens, of any"
            " request, to compute again."
        ) in told(life, harmless_text(session))
        exact = explain_run(session, 2).totals.went_back
        assert [(each.step, each.replayed_steps > 0) for each in exact] == [(3, True)]


def test_the_latest_branch_is_told_unless_another_is_named(branches: Path) -> None:
    ran = run("explain", branches, "--json")
    assert ran.err == "workbench: branch 2 of 0 to 2, and the history it continues\n"
    assert json.loads(ran.out)["branch"] == 2
    first = json.loads(run("explain", branches, "--branch", 0, "--json").out)
    with Session.open(branches) as session:
        assert first["totals"]["steps"] == session.last_step(0)
    assert json.loads(run("explain", branches, "--what-if", "policy=lpm", "--json").out)["branch"] == 2


def test_a_long_queue_is_told_by_its_first_ones(tmp_path: Path) -> None:
    def drive(engine: Engine) -> None:
        for number in range(20):
            engine.submit(spec([number], 2))
        engine.run()

    with recorded(tmp_path / "a.wbs", header(block_size=4, max_running=1), drive) as session:
        [life] = explain_requests(session, ["20"])
    assert (len(life.waits[0].behind), life.waits[0].more_behind) == (8, 10)
    said = sentences(Session.open(session.path), "20")
    assert said[1] == (
        "It waited 38 steps (steps 1–38): 36 behind requests 2 (2), 3 (2), 4 (2), 5 (2), 6 (2), 7 (2) and 12 more"
        " in turn, then 2 for a place while 1 of at most 1 requests ran."
    )


def test_the_cache_is_off(tmp_path: Path) -> None:
    def drive(engine: Engine) -> None:
        engine.submit(spec([1] * 5, 1))
        engine.run()

    said = sentences(recorded(tmp_path / "a.wbs", header(block_size=4, prefix_cache=False), drive), "1")
    assert "stopped because the prefix cache was off for it." in said[1]


def test_failed_steps_are_told_with_what_they_cost(tmp_path: Path) -> None:
    def drive(engine: Engine) -> None:
        executor = engine._executor
        assert isinstance(executor, ScriptedExecutor)
        engine.submit(spec([1] * 6, 4))
        engine.run(2)
        executor.fault_at_choice = RuntimeError("boom\x1b[31m")
        for _ in range(2):
            with pytest.raises(StepFailedError):
                engine.step()

    said = sentences(recorded(tmp_path / "a.wbs", header(block_size=4), drive), "1")
    assert said[2:] == [
        "Step 3 failed with it in the batch, and was rolled back: RuntimeError: boom␛[31m.",
        "It resumed in step 4: 4 of 8 tokens matched the cache, stopped because no cached block continued it at"
        " position 4.",
        "Step 4 failed with it in the batch, and was rolled back: RuntimeError: boom␛[31m.",
        "No token was computed again.",
        "It spent 2 steps in prefill, 2 steps in decode (T); T from its first step to its last.",
        "It ended in step 4 (error) with 2 tokens, because its step failed again: RuntimeError: boom␛[31m.",
    ]


@pytest.mark.parametrize(
    ("ns", "words"),
    [
        (0, "0.00 µs"), (12_345, "12.3 µs"), (999_600, "1,000 µs"), (1_234_567, "1.23 ms"),
        (123_456_789, "123 ms"), (3_100_000_000, "3.10 s"), (95_204_000_000_000, "95,204 s"),
    ],
)  # fmt: skip
def test_a_duration_reads_as(ns: int, words: str) -> None:
    assert time_words(ns) == words


def test_one_that_has_not_ended_says_so(tmp_path: Path) -> None:
    def drive(engine: Engine) -> None:
        engine.submit(spec([1] * 6, 9))
        engine.run(3)

    said = sentences(recorded(tmp_path / "a.wbs", header(block_size=4), drive), "1")
    assert said[-1] == "It has not ended: 3 of at most 9 tokens are generated."


def test_samples_whose_leader_was_aborted_wait_for_the_next_one(tmp_path: Path) -> None:
    def drive(engine: Engine) -> None:
        engine.submit(spec([1] * 12, 2))
        engine.submit(spec([2] * 8, 2, n=3))
        engine.step()
        engine.abort("2.0")
        engine.run()

    said = sentences(recorded(tmp_path / "a.wbs", header(block_size=4, token_budget=4), drive), "2.2")
    assert said[1] == "It waited 6 steps (steps 1–6) for requests 2.0, then 2.1 to compute the prompt they share."


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([], ""),
        ([Other("2", "age")], "; it went instead of request 2, which is older"),
        (
            [Other("2", "age"), Other("3", "age"), Other("1", "priority")],
            "; it went instead of requests 2, 3, which are older, and of request 1, which has a higher priority",
        ),
        ([Other("9", None)], "; it went instead of request 9"),
    ],
)  # fmt: skip
def test_why_nobody_else_was_preempted_reads_as(others: list[Other], words: str) -> None:
    """A scheduler that chooses otherwise (by chance, say) is not said to go by age."""
    preemption = Preemption(5, why_.NeededBlocks("1", 1, 0, 0, ()), tuple(others), 3, 12, 7, 4)
    assert told(replace(LIFE, preemptions=(preemption,)), str)[1] == (
        f"It was preempted in step 5 because request 1 needed 1 block while 0 were free and 0 evictable{words}."
        " It gave up 3 blocks with the KV of 12 tokens; 4 of them were gone when it resumed in step 7."
    )


LIFE = Life(
    request="4", arrival=3, priority=0, sample=0, samples=1, leader=None, fork=None, submitted_step=0,
    prompt_tokens=9, output_tokens=2, max_tokens=8, temperature=0.0, waits=(), admissions=(), preemptions=(),
    failures=(), copies=Copies(), phases=(), busy_ns=0, wall_ns=None, computed_tokens=12, recomputed_tokens=4,
    ending=None,
)  # fmt: skip


def test_every_reason_to_wait_has_words_for_afterwards() -> None:
    codes = {str(kind.__struct_config__.tag) for kind in get_args(WaitReason)}
    assert set(past.WAITED) == codes | {JUST_PREEMPTED}
    assert set(past.ENDED) == set(get_args(FinishDetail))


WAITS: dict[tuple[Reason, ...], str] = {
    (why_.NoFreeBlocks(6, 4, 0),): "for 6 blocks while 4 were free and 0 evictable",
    (why_.NoFreeBlocks(1, 1, 0), why_.NoFreeBlocks(3, 0, 2)): (
        "for 1 to 3 blocks while 0 to 1 were free and 0 to 2 evictable"
    ),
    (why_.TokenBudgetSpent(20, 12, 12),): "for 20 tokens of the budget while 12 of 12 were spent",
    (why_.MaxRunning(1, 4, 4),): "for a place while 4 of at most 4 requests ran",
    (why_.MaxRunning(3, 2, 4), why_.MaxRunning(3, 4, 4)): "for 3 places while 2 to 4 of at most 4 requests ran",
    (why_.AwaitsPrefill("2.0"),): "for request 2.0 to compute the prompt they share",
    (why_.AfterPreemption("4"), why_.AfterPreemption("4")): (
        "because nothing is admitted in a step that preempts (4)"
    ),
    (why_.AwaitsPrefill("2.0"), why_.AwaitsPrefill("2.1")): (
        "for requests 2.0, then 2.1 to compute the prompt they share"
    ),
    (why_.Arrived(),): "for the first plan after its arrival",
    (why_.RolledBack(),): "for the plan after the failed step",
    (why_.BehindOlder(),): "behind another request",
}  # fmt: skip


@pytest.mark.parametrize(("reasons", "words"), WAITS.items(), ids=str)
def test_a_wait_reads_as(reasons: tuple[Reason, ...], words: str) -> None:
    assert past.waited_for(reasons) == words


def test_json_has_the_facts_and_the_sentences(session: Path) -> None:
    ran = run("explain", session, "--request", "3", "--request", "5", "--json")
    answer = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert [life["request"] for life in answer["requests"]] == ["3", "5"]
    assert answer["totals"] is None
    [third, _] = answer["requests"]
    assert third["waits"][0] == {
        "code": "token_budget_spent", "first_step": 1, "last_step": 2, "behind": [], "more_behind": 0,
        "reasons": [{"code": "token_budget_spent", "need": 1, "used": 12, "budget": 12}],
    }  # fmt: skip
    assert (third["waited_steps"], third["recomputed_tokens"]) == (10, 20)
    assert third["sentences"][0].startswith("Request 3 arrived")
    totals = json.loads(run("explain", session, "--json").out)["totals"]
    with Session.open(session) as opened:
        assert totals["sentences"] == told_run(explain_run(opened).totals)


def test_a_what_if_is_a_table_beside_the_record(session: Path) -> None:
    ran = run("explain", session, "--what-if", "kv-blocks=40", "--what-if", "policy=lpm")
    rows = {line[:30].strip(): re.split(r"  +", line[30:].strip()) for line in ran.out.splitlines() if line}
    assert ran.code == 0
    assert ran.out.startswith("Checked: with unchanged options the simulation repeats all 38 steps exactly.\n")
    assert rows["steps"] == ["38", "26", "38"]
    assert rows["preemptions"] == ["3", "0", "1"]
    assert rows["peak KV blocks"] == ["14 of 14", "22 of 40", "14 of 14"]
    answer = json.loads(run("explain", session, "--what-if", "kv-blocks=40", "--json").out)
    assert answer["verdict"]["reproduced"] is True
    assert [answer[name]["totals"]["preemptions"] for name in ("before",)] == [3]
    assert answer["after"][0]["courses"]["5"] == {
        "waited_steps": 9, "cached_tokens": 0, "preemptions": 0, "recomputed_tokens": 0, "steps": 20,
    }  # fmt: skip


def test_a_what_if_says_what_it_cannot_know(tmp_path: Path) -> None:
    """The record was cut off; in a larger pool everybody would go on, in a tiny one nobody could run."""

    def drive(engine: Engine) -> None:
        for token in range(3):
            engine.submit(spec([token] * 13, 12))
        engine.run(5)

    recorded(tmp_path / "a.wbs", header(8, block_size=4, token_budget=12), drive).close()
    said = run("explain", tmp_path / "a.wbs", "--what-if", "kv-blocks=20", "--what-if", "kv-blocks=2").out
    assert "kv-blocks=20: no request that does the same work in both fares differently\n" in said
    assert said.endswith(
        "kv-blocks=20: requests 1, 2, 3 need tokens that the record does not have, and end there.\n"
        "kv-blocks=2: requests 1, 2, 3 could never run there: refused.\n"
        f"{NOT_KNOWN}\n"
    )


def test_a_what_if_of_a_run_with_failed_steps_compares_simulations(tmp_path: Path) -> None:
    def drive(engine: Engine) -> None:
        executor = engine._executor
        assert isinstance(executor, ScriptedExecutor)
        engine.submit(spec([1] * 6, 8))
        engine.run(2)
        executor.fault_at_choice = RuntimeError("boom")
        with pytest.raises(StepFailedError):
            engine.step()
        executor.fault_at_choice = None
        engine.run()

    recorded(tmp_path / "a.wbs", header(8, block_size=4), drive).close()
    ran = run("explain", tmp_path / "a.wbs", "--what-if", "kv-blocks=20")
    assert ran.code == 0
    assert ran.out.startswith(
        "Checked: with unchanged options the simulation repeats the record exactly up to step 2. Step 3 failed,"
        " which is not simulated: compare with the column 'simulated as it was'.\n"
    )
    [steps] = [line.split() for line in ran.out.splitlines() if line.startswith("steps ")][:1]
    assert steps == ["steps", "9", "8", "8"]


def test_a_record_that_the_simulation_does_not_repeat_is_not_trusted(session: Path, tmp_path: Path) -> None:
    tampered = tmp_path / "tampered.wbs"
    shutil.copy(session, tampered)
    with sqlite3.connect(tampered) as file:
        file.execute("""UPDATE events SET data = replace(data, '"need":3', '"need":7') WHERE type = 'waiting'""")
    file.close()
    ran = run("explain", tampered, "--what-if", "policy=lpm")
    assert ran.code == 1
    assert ran.out.startswith(
        "Not to be trusted: with unchanged options the simulation parts from the record in step 9,"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--request", "99"], "has no request 99: `workbench sessions show` lists them"),
        (["--request", "99", "--what-if", "policy=lpm"], "has no request 99"),
        (["--branch", "7"], "has no branch 7: use one of 0"),
        (
            ["--what-if", "speed=9"],
            "--what-if speed=9: there is no option 'speed': use one of block-size, kv-blocks",
        ),
    ],
)
def test_what_is_not_there_is_said_in_one_line(session: Path, arguments: list[str], words: str) -> None:
    ran = run("explain", session, *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert words in ran.err
