"""A run on the bundled model from the command line, and an engine's process that may lose anybody at any time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import msgspec
import psutil
import pytest

from engine import protocol as pr
from engine.client import EngineClient
from sessions.reader import Session
from tests.commands import ROOT, run, spawn
from workbench.cli import demo
from workbench.cli.engine_command import engine_command
from workbench.cli.folders import DEFAULT_MODEL
from workbench.cli.order import make_order

A = TypeVar("A", bound=pr.Message)
REQUEST_FIELDS = {
    "id", "parent", "prompt_tokens", "cached_tokens", "preemptions", "output_ids", "text", "finish_reason",
}  # fmt: skip
PROMPT = "def read_lines(path):\n"


def test_greedy_tokens_are_those_of_transformers(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    workload, output = tmp_path / "w.jsonl", tmp_path / "run.wbs"
    workload.write_text(json.dumps({"prompt": PROMPT, "max_tokens": 128, "ignore_eos": True}))
    ran = run("record", "--workload", workload, "-o", output, "--json")
    assert ran.code == 0, ran.err

    model = AutoModelForCausalLM.from_pretrained(DEFAULT_MODEL, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    ids = AutoTokenizer.from_pretrained(DEFAULT_MODEL)(PROMPT, return_tensors="pt").input_ids
    with torch.inference_mode():
        expected = model.generate(ids, max_new_tokens=128, do_sample=False)[0, ids.shape[1] :].tolist()
    assert len(expected) == 128
    assert json.loads(ran.out)["requests"][0]["output_ids"] == expected


def test_the_json_of_a_run_has_the_documented_shape(tmp_path: Path) -> None:
    output = tmp_path / "run.wbs"
    ran = run(
        "record", "--prompt", PROMPT, "--prompt", PROMPT, "--n", 2, "--max-tokens", 5, "-o", output, "--json"
    )
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert set(result) == {"session", "steps", "tokens_per_s", "requests"}
    assert result["session"] == str(output)
    assert result["steps"] >= 5
    assert result["tokens_per_s"] > 0
    assert [request["id"] for request in result["requests"]] == ["1.0", "1.1", "2.0", "2.1"]
    for request in result["requests"]:
        assert set(request) == REQUEST_FIELDS
        assert len(request["output_ids"]) == 5
        assert request["finish_reason"] in ("length", "stop")
        assert request["text"]


def test_a_run_prints_data_to_stdout_and_leaves_one_file(tmp_path: Path) -> None:
    ran = spawn("record", "--max-tokens", 4, "-o", tmp_path / "run.wbs", "--json", stdin=PROMPT)
    assert (ran.code, ran.err) == (0, "")
    assert len(json.loads(ran.out)["requests"][0]["output_ids"]) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["run.wbs"]


def test_force_replaces_a_session(tmp_path: Path) -> None:
    output = tmp_path / "run.wbs"
    for _ in range(2):
        ran = run("record", "--prompt", "x", "--max-tokens", 2, "-o", output, "--force")
        assert ran.code == 0, ran.err
    with Session.open(output) as session:
        assert len(session.requests()) == 1


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path) -> None:
    output, workload = tmp_path / "run.wbs", tmp_path / "w.jsonl"
    workload.write_text(json.dumps({"prompt": PROMPT, "max_tokens": 1000, "ignore_eos": True}))
    line = [
        sys.executable,
        str(ROOT / "main.py"),
        "record",
        "--workload",
        str(workload),
        "-o",
        str(output),
        "--json",
    ]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(output.exists)
    wait_until(lambda: steps_in(output) > 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "interrupted after step" in err
    assert 3 < json.loads(out)["steps"] < 1000
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".jsonl"] == ["run.wbs"]


# -- the engine's process --------------------------------------------------------------------------------


class Engine:
    """An engine process and what it has said."""

    def __init__(self, session: Path) -> None:
        self.heard: SimpleQueue[pr.Answer] = SimpleQueue()
        self.exits: list[int] = []
        order, _ = make_order(DEFAULT_MODEL, demo.OPTIONS, demo.demo_requests(), session)
        self.client = EngineClient(engine_command(), self.heard.put, self.exits.append)
        self.client.send(order)

    def wait_for(self, kind: type[A], holds: Callable[[A], bool] = lambda _: True) -> A:
        while True:
            answer = self.heard.get(timeout=60)
            assert not isinstance(answer, pr.Fatal), answer
            if isinstance(answer, kind) and holds(answer):
                return answer


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return tmp_path / "live.wbs"


def test_an_engine_serves_steps_and_inspection_and_closes(session: Path) -> None:
    engine = Engine(session)
    assert engine.wait_for(pr.Ready).session == str(session)
    engine.client.send(pr.Step(count=3))
    assert engine.wait_for(pr.Progress, lambda said: said.why == "stepped").step == 3
    engine.client.send(pr.Inspect(request="1", position=10))
    assert engine.wait_for(pr.Inspection).check < 1e-4
    assert engine.client.close() == 0
    assert steps_in(session) == 3
    assert [path.name for path in session.parent.iterdir()] == [session.name]


def test_a_killed_engine_leaves_a_session_that_opens(session: Path) -> None:
    engine = Engine(session)
    engine.client.send(pr.Run())
    reached = engine.wait_for(pr.Progress, lambda said: said.step >= 20).step
    os.kill(engine.client.pid, signal.SIGKILL)
    wait_until(lambda: bool(engine.exits))
    engine.client.close()
    assert engine.exits == [-signal.SIGKILL]
    with Session.open(session) as read:
        last = read.last_step()
        assert last >= reached - 1
        read.state_at(last).check_invariants()
        assert all(read.token(row.request, row.prompt_tokens) for row in read.requests() if row.output_tokens)


def test_an_engine_whose_client_is_gone_closes_the_session_and_leaves_nobody(session: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tests.test_record import Engine, pr\n"
        "engine = Engine(Path(sys.argv[1])); engine.client.send(pr.Run())\n"
        "engine.wait_for(pr.Progress, lambda said: said.step >= 10)\n"
        "print(engine.client.pid, flush=True); time.sleep(60)\n"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", code, str(session)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    engine = psutil.Process(int(client.stdout.readline()))
    children = engine.children(recursive=True)
    client.kill()
    client.communicate(timeout=10)
    _, alive = psutil.wait_procs([engine, *children], timeout=20)
    assert not alive
    assert steps_in(session) >= 10
    assert [path.name for path in session.parent.iterdir()] == [session.name]


def test_an_engine_says_in_one_line_what_is_wrong_with_its_order(session: Path, tmp_path: Path) -> None:
    order, _ = make_order(DEFAULT_MODEL, demo.OPTIONS, demo.demo_requests(), session)
    heard: SimpleQueue[pr.Answer] = SimpleQueue()
    exits: list[int] = []
    client = EngineClient(engine_command(), heard.put, exits.append)
    client.send(msgspec.structs.replace(order, session="/proc/no.wbs"))
    while not isinstance(said := heard.get(timeout=60), pr.Fatal):
        pass
    assert said.usage
    assert "/proc/no.wbs" in said.error
    assert "\n" not in said.error
    assert client.close() == 2


def test_nothing_but_frames_reaches_the_channel(session: Path) -> None:
    """What libraries print, from Python or from C, goes to stderr."""
    code = (
        "import os, sys; from workbench.cli import engine_process\n"
        "commands, answers = engine_process._take_channel()\n"
        "print('from Python', flush=True); os.write(1, b'from C'); answers.write(b'frames'); answers.flush()\n"
        "assert sys.stdin.read() == '' and commands.read() == b'commands'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"commands", cwd=ROOT, capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b"frames"
    assert b"from Python" in done.stderr
    assert b"from C" in done.stderr


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def steps_in(path: Path) -> int:
    """The last step in a session, 0 while it cannot be read yet."""
    try:
        with Session.open(path) as session:
            return session.last_step()
    except ValueError:
        return 0
