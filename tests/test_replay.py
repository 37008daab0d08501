"""A record runs again to the same events, tokens and hashes; and what does not is found and named."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from engine import events as ev
from engine import protocol as pr
from engine.forking import ForkSpec
from engine.interventions import Scale
from engine.params import EngineOptions, RequestSpec, SamplingParams
from sessions.reader import Session
from sessions.replay import RecordTimeline, Said, replay
from sessions.replay_compare import Comparison
from sessions.replay_difference import Difference
from tests.bundled import FOLDER, greedy
from tests.commands import run
from tests.recorded import engine_on, header, writer_on
from tests.scripted import spec
from tests.test_bookkeeping import requests
from tests.test_branches import recorded
from tests.test_going_back import ACTIONS, act
from tests.test_invariance import CODE
from workbench.cli.assemble import open_session


def replayed(path: Path, tolerance: float | None = None) -> tuple[list[int], Comparison]:
    """Run a scripted session again; the steps that agree, and what was found."""
    with Session.open(path) as session:
        said, timeline = Said(), RecordTimeline(session)
        engine = engine_on(said, session.header, timeline)
        comparison = Comparison(tolerance)
        return list(replay(session, engine, said, timeline, comparison)), comparison


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(requests, min_size=1, max_size=4), st.sampled_from([2, 4]), st.integers(4, 30), st.data())
def test_whatever_was_done_to_a_run_is_done_again(tmp_path, batch, size, budget, data) -> None:
    """Forks, rewinds, exact or not, preemptions, evictions, other policies, aborts, refusals, failures."""
    path = tmp_path / "run.wbs"
    blocks = max(-(-(len(p) + m + 4) // size) + n for p, m, n, _ in batch) + 2
    engine, both, timeline = recorded(path, header(blocks, block_size=size, token_budget=budget, max_running=3))
    for prompt, count, n, priority in batch:
        engine.submit(spec(prompt, count, n, priority))
    actions = ("abort", "refuse", "fail", *ACTIONS)
    for action in data.draw(st.lists(st.sampled_from(actions), max_size=25)):
        if action in ACTIONS:
            act(engine, both, action, data)
        elif action == "abort" and engine.busy:
            engine.abort(data.draw(st.sampled_from(sorted(engine.state.requests))))
        elif action == "refuse":
            engine.submit(spec(range(size * blocks + 1)))
        elif action == "fail" and engine.busy:
            engine.begin()
            engine.abandon("the disk of the machine is on fire", ())
    engine.run(60)
    timeline.close()
    both.writer.close()
    steps, comparison = replayed(path)
    assert comparison.first is None
    assert len(steps) == sum(type(event).__name__ in ("StepCommitted", "StepFailed") for event in both._said)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.wbs"
    engine, both, _ = recorded(path, header(14, block_size=4, token_budget=12))
    for prompt in (range(10), [3] * 17, [*range(10), 7, 7]):
        engine.submit(spec(prompt, 9))
    engine.run()
    both.writer.close()
    return path


def change(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def change_event(path: Path, kind: str, old: str, new: str) -> int:
    """Change the third event of a kind in the file; its step."""
    connection = sqlite3.connect(path)
    seq, step, data = connection.execute(
        "SELECT seq, step, data FROM events WHERE type = ? ORDER BY seq LIMIT 1 OFFSET 2", (kind,)
    ).fetchone()
    assert old in data
    connection.execute("UPDATE events SET data = ? WHERE seq = ?", (data.replace(old, new, 1), seq))
    connection.commit()
    connection.close()
    return int(step)


@pytest.mark.parametrize(
    ("event", "old", "new", "field", "kind"),
    [
        ("token", '"token":', '"token":1', "token", "token"),
        ("token", '"draw":null', '"draw":0.5', "draw", "draw"),
        ("scheduled", '"budget":12', '"budget":11', "scheduled.budget", "plan"),
        ("cached", '"created":', '"created":true,"x":', "cached.created", "result"),
        ("allocated", '"index":', '"index":1', "allocated.index", "plan"),
    ],
)
def test_a_record_that_was_changed_is_found_at_its_step(
    path: Path, event: str, old: str, new: str, field: str, kind: str
) -> None:
    step = change_event(path, event, old, new)
    steps, comparison = replayed(path)
    assert comparison.first is not None
    assert (comparison.first.step, comparison.first.field, comparison.first.kind) == (step, field, kind)
    assert steps == list(range(1, step))


def test_a_run_that_was_cut_off_replays_up_to_its_last_whole_step(path: Path) -> None:
    [(seq,)] = sqlite3.connect(path).execute("SELECT max(seq) FROM events WHERE type = 'scheduled'")
    change(path, "DELETE FROM events WHERE seq > ?", seq)
    steps, comparison = replayed(path)
    assert comparison.first is None
    assert steps


# -- with a model --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sampled and greedy requests, preempted; a fork with a head switched off; an exact and a plain rewind."""
    path = tmp_path_factory.mktemp("replay") / "run.wbs"
    options = EngineOptions(dtype="float32", block_size=4, kv_blocks=20, token_budget=24, threads=1)
    order = pr.Open(model=str(FOLDER), session=str(path), options=options)
    engine = open_session(order, lambda _message: None).engine
    for prompt in (CODE, CODE[:9] + CODE[::-1], CODE[3:]):
        engine.submit(RequestSpec(tuple(prompt), SamplingParams(max_tokens=14, temperature=0.8, ignore_eos=True)))
    engine.run(12)
    engine.fork(ForkSpec("1", 24, scales=(Scale(4, "attn_out", 0.0, head=3),)))
    engine.run(8)
    engine.rewind(9, exact=True)
    engine.run(4)
    engine.submit(greedy(CODE[::2], 5))
    engine.run()
    engine.rewind(3)
    engine.run()
    assert engine.state.totals.preemptions
    engine.close()
    return path


def test_a_run_of_the_model_is_identical_to_the_bit(model_run: Path) -> None:
    done = run("replay", str(model_run), "--json")
    found = json.loads(done.out)
    assert done.code == 0, done.err
    assert (found["identical"], found["first"], found["tolerance"]) == (True, None, None)
    with Session.open(model_run) as session:
        assert found["steps"] == session.count_rows("steps")
        assert len(session.branches) == 3


def test_a_session_that_still_grows_is_said_to_be_compared_in_part(model_run: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(model_run, tmp_path))
    writing = sqlite3.connect(path)
    writing.execute("PRAGMA journal_mode = WAL")
    with writing:
        writing.execute("UPDATE header SET value = value")
    done = run("replay", str(path))
    writing.close()
    assert done.code == 0
    assert "compared as far as it is written" in done.err
    assert done.out.startswith("identical: ")


def test_a_copy_that_went_on_replays_whole(model_run: Path, tmp_path: Path) -> None:
    """The engine that went on had none of the KV that the one it replays on still has."""
    copy = tmp_path / "copy.wbs"
    resume = pr.Resume(str(model_run), 1, 8)
    order = pr.Open(model=str(FOLDER), session=str(copy), options=EngineOptions(), resume=resume)
    engine = open_session(order, lambda _message: None).engine
    engine.run()
    engine.close()
    done = run("replay", str(copy))
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("identical: ")


def test_other_threads_are_compared_within_a_tolerance_that_is_said(tmp_path: Path) -> None:
    options = EngineOptions(dtype="float32", kv_blocks=8, threads=1)
    order = pr.Open(model=str(FOLDER), session=str(tmp_path / "run.wbs"), options=options)
    engine = open_session(order, lambda _message: None).engine
    engine.submit(greedy(CODE, 4))
    engine.run()
    engine.close()
    done = run("replay", str(tmp_path / "run.wbs"), "--threads", "2")
    assert done.code == 0, done.out
    assert "not as recorded: threads 2, recorded with 1; logits are compared within 0.001" in done.out


def altered_model(folder: Path) -> Path:
    """The bundled model with one weight changed."""
    shutil.copytree(FOLDER, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.3.mlp.down_proj.weight"][0, 0] += 0.5
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_another_model_is_refused_and_one_flipped_weight_found(model_run: Path, tmp_path: Path) -> None:
    altered = altered_model(tmp_path / "altered")
    refused = run("replay", str(model_run), "--model", str(altered))
    assert refused.code == 2
    assert "holds another model now: its hashes are not those of the recording" in refused.err
    copy = tmp_path / "run.wbs"
    shutil.copy(model_run, copy)
    from engine.model.fingerprint import fingerprint

    change(
        copy,
        "UPDATE header SET value = ? WHERE name = 'weights_sha256'",
        f'"{fingerprint(altered).weights_sha256}"',
    )
    found = json.loads(run("replay", str(copy), "--model", str(altered), "--json").out)
    assert not found["identical"]
    assert found["first"]["step"] == 1
    assert found["first"]["field"] in ("logits", "token")
    assert found["first"]["max_abs"] > 0


def test_another_tokenizer_is_refused(model_run: Path, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "model")
    with (tmp_path / "model" / "tokenizer.json").open("a") as file:
        file.write("\n")
    refused = run("replay", str(model_run), "--model", str(tmp_path / "model"))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "tokenizer.json is not the one of the recording" in refused.err


def test_a_model_that_is_gone_is_one_line(model_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run.wbs"
    shutil.copy(model_run, copy)
    change(copy, "UPDATE header SET value = ? WHERE name = 'model_path'", f'"{tmp_path / "gone"}"')
    refused = run("replay", str(copy))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "that folder is not there: name its folder with --model" in refused.err


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        ("UPDATE header SET value = replace(value, '\"seed\":0', '\"seed\":1') WHERE name = 'options'", "draw"),
    ],
)
def test_another_seed_draws_other_numbers(model_run: Path, tmp_path: Path, edit: str, field: str) -> None:
    copy = tmp_path / "run.wbs"
    shutil.copy(model_run, copy)
    change(copy, edit)
    done = run("replay", str(copy), "--json")
    first = json.loads(done.out)["first"]
    assert done.code == 1
    assert (first["step"], first["field"]) == (1, field) or first["field"] == "token"


def test_a_changed_hash_is_found(model_run: Path, tmp_path: Path) -> None:
    """The hashes that are compared are those of the packed rows: flip a bit of one."""
    copy = tmp_path / "run.wbs"
    shutil.copy(model_run, copy)
    [(data,)] = sqlite3.connect(copy).execute("SELECT data FROM candidate_rows WHERE step = 4 AND branch = 0")
    with Session.open(copy) as session:
        hash_ = session.details_of_step(4)[0].logits_hash.to_bytes(8, "little")
    at = data.index(hash_)
    change(copy, "UPDATE candidate_rows SET data = ? WHERE step = 4 AND branch = 0",
           data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])  # fmt: skip
    first = json.loads(run("replay", str(copy), "--json").out)["first"]
    assert (first["step"], first["field"], first["max_abs"]) == (4, "logits", 0.0)


LAST = "request = '1' AND branch = 0 AND position = 24"


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (f"UPDATE tokens SET logits_hash = logits_hash + 1 WHERE {LAST}", "logits"),
        (f"UPDATE tokens SET token = token + 1 WHERE {LAST}", "token"),
        (f"UPDATE tokens SET draw = draw / 2 WHERE {LAST}", "draw"),
        (f"DELETE FROM tokens WHERE {LAST}", "token"),
    ],
)
def test_a_table_that_does_not_agree_with_the_events_is_found(
    model_run: Path, tmp_path: Path, edit: str, kind: str
) -> None:
    copy = tmp_path / "run.wbs"
    shutil.copy(model_run, copy)
    change(copy, edit)
    done = run("replay", str(copy), "--json")
    first = json.loads(done.out)["first"]
    assert done.code == 1
    assert (first["request"], first["position"], first["kind"]) == ("1", 24, kind)


def test_tokens_without_recorded_logits_are_counted(model_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run.wbs"
    shutil.copy(model_run, copy)
    change(copy, "UPDATE tokens SET logits_hash = NULL WHERE branch = 0 AND chosen_step < 4")
    change(copy, "DELETE FROM candidate_rows WHERE branch = 0 AND step < 4")
    (missing,) = (
        sqlite3.connect(copy)
        .execute("SELECT count(*) FROM tokens WHERE logits_hash IS NULL AND request < '4'")
        .fetchone()
    )
    assert missing
    done = run("replay", str(copy))
    assert done.code == 0
    assert f"of {missing} tokens the record holds no logits to compare" in done.out


def test_an_input_that_cannot_be_given_is_named(path: Path) -> None:
    """The record says that somebody aborted a request that there never was."""
    connection = sqlite3.connect(path)
    (seq,) = connection.execute("SELECT seq FROM events WHERE type = 'submitted' ORDER BY seq DESC").fetchone()
    aborted = ev.Finished(branch=0, step=0, request="99", reason="abort", detail="aborted", output_tokens=0)
    line = ev.encode(aborted).decode()
    connection.execute("UPDATE events SET data = ?, type = 'finished' WHERE seq = ?", (line, seq))
    connection.commit()
    connection.close()
    _, comparison = replayed(path)
    assert comparison.first is not None
    assert (comparison.first.kind, comparison.first.actual) == ("input", "refused: 99")


def test_a_difference_reads_as_one_line() -> None:
    from workbench.cli.replay import _words

    first = Difference(4, "1", 24, "token", "7", "8", 0.125, near_tie=True)
    assert _words(first) == (
        "step 4, request 1, position 24: token is 8, recorded 7; the recorded candidates' logits differ by up to"
        " 0.125; a near tie"
    )


def test_a_run_that_ended_before_its_first_step_has_nothing_to_replay(tmp_path: Path) -> None:
    path = tmp_path / "run.wbs"
    writer = writer_on(path, header(14))
    engine_on(writer, header(14)).submit(spec([1, 2, 3]))
    writer.close()
    ran = run("replay", path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"workbench: {path}: no step was recorded, so there is nothing to replay\n"
