"""Whatever is wrong with what a person gives, they get one line that says so, and exit code 2."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import BUNDLED, ROOT, Ran, run, spawn

WEIGHTS = "model.safetensors"
SMALL = ROOT / "models" / "tiny-python-draft"

Spoil = Callable[[Path], object]


def assert_refused(ran: Ran, *says: str) -> None:
    assert ran.code == 2, ran
    assert ran.out == ""
    assert ran.err.startswith("workbench: ")
    assert ran.err.count("\n") == 1, ran.err
    for text in says:
        assert text in ran.err


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of a bundled model, to be spoiled."""
    return Path(shutil.copytree(SMALL, tmp_path / "model"))


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_weights(path: Path, header: dict[str, Any], data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def edit_config(model: Path, **changes: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))


def edit_tensor(model: Path, name: str, **changes: object) -> None:
    header, data = header_of(model / WEIGHTS)
    header[name] |= changes
    write_weights(model / WEIGHTS, header, data)


def lie_about_header_length(model: Path) -> None:
    data = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(struct.pack("<Q", 1 << 60) + data[8:])


def overlap_offsets(model: Path) -> None:
    header, data = header_of(model / WEIGHTS)
    first, second = [name for name in header if name.endswith("layernorm.weight")][:2]
    header[second]["data_offsets"] = header[first]["data_offsets"]
    write_weights(model / WEIGHTS, header, data)


def store_as_integers(model: Path) -> None:
    edit_tensor(model, "model.norm.weight", dtype="I16")


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


SPOILED_MODELS: dict[str, tuple[Spoil, str]] = {
    "no config": (lambda model: (model / "config.json").unlink(), "has no config.json"),
    "config is not JSON": (lambda model: (model / "config.json").write_text("{"), "config.json"),
    "no weights": (lambda model: (model / WEIGHTS).unlink(), "only safetensors weights can be loaded"),
    "weights truncated": (lambda model: halve(model / WEIGHTS), "truncated"),
    "weights empty": (lambda model: (model / WEIGHTS).write_bytes(b""), "too short for a safetensors file"),
    "header length lies": (lie_about_header_length, "its header claims 1152921504606846976 bytes"),
    "offsets overlap": (overlap_offsets, "overlaps the one before it"),
    "wrong dtype": (store_as_integers, "is I16: only F32, BF16, F16 can run"),
    "wrong shape": (lambda model: edit_config(model, intermediate_size=64), "mlp"),
    "no tokenizer": (lambda model: (model / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "tokenizer is not one": (lambda model: (model / "tokenizer.json").write_text("[]"), "cannot be read"),
    "unknown architecture": (
        lambda model: edit_config(model, architectures=["GPT2LMHeadModel"]), "GPT2LMHeadModel",
    ),
    "quantized": (lambda model: edit_config(model, quantization_config={}), "quantized weights cannot run"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "says"), SPOILED_MODELS.values(), ids=SPOILED_MODELS)
def test_a_model_that_cannot_run_is_refused_with_the_reason(
    model: Path, tmp_path: Path, spoil: Spoil, says: str
) -> None:
    spoil(model)
    output = tmp_path / "run.wbs"
    assert_refused(run("record", model, "--prompt", "def f", "-o", output), says)
    assert not output.exists()


def test_a_model_larger_than_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.cli.order.memory_bytes", lambda: 1 << 20)
    assert_refused(run("record", "--prompt", "x", "-o", tmp_path / "run.wbs"), "this machine has 1.0 MiB")


def test_models_that_do_not_exist_are_named() -> None:
    assert_refused(run("record", "no/such/model", "--prompt", "x"), "no/such/model: no such folder or model")
    assert_refused(run("record", "tiny-pythn", "--prompt", "x"), "did you mean tiny-python?")
    assert_refused(run("record", BUNDLED / "config.json", "--prompt", "x"), "is a file")
    assert_refused(run("models", "ls", "/no/such/folder"), "/no/such/folder")


OPTIONS: dict[str, tuple[list[str], str]] = {
    "no such option": (["--blocks", "3"], "--blocks"),
    "no value": (["--prompt"], "--prompt"),
    "not a number": (["--kv-blocks", "many"], "'many' is not a whole number"),
    "negative blocks": (["--kv-blocks", "-1"], "--kv-blocks is -1: it must be between 1 and"),
    "more memory than there is": (["--kv-blocks", "16777216"], "--kv-blocks is 16777216"),
    "more KV than memory": (["--kv-memory", "900TiB"], "--kv-memory is 943718400 MiB: this machine has"),
    "too large a number": (["--seed", str(1 << 70)], "too large"),
    "no block size": (["--block-size", "0"], "--block-size is 0"),
    "not a size": (["--kv-memory", "lots"], "--kv-memory is 'lots': write a size such as 512MiB"),
    "less than a block": (["--kv-memory", "1"], "--kv-memory is 1 bytes: one block"),
    "two sizes": (["--kv-memory", "1G", "--kv-blocks", "3"], "give one"),
    "no budget": (["--token-budget", "0"], "--token-budget is 0"),
    "nobody may run": (["--max-running", "0"], "--max-running is 0"),
    "no threads": (["--threads", "0"], "--threads is 0"),
    "absurd threads": (["--threads", "100000"], "--threads is 100000"),
    "unknown policy": (["--policy", "best"], "--policy is 'best': use "),
    "unknown dtype": (["--dtype", "int4"], "'int4' is not one of"),
    "unknown device": (["--device", "tpu"], "--device is 'tpu'"),
    "no tokens": (["--max-tokens", "0"], "--max-tokens is 0"),
    "negative temperature": (["--temperature", "-0.5"], "--temperature is -0.5"),
    "temperature is no number": (["--temperature", "nan"], "--temperature is nan"),
    "top-p above one": (["--top-p", "1.5"], "--top-p is 1.5"),
    "negative top-k": (["--top-k", "-3"], "--top-k is -3"),
    "no samples": (["--n", "0"], "--n is 0"),
    "empty stop": (["--stop", ""], "--stop"),
    "chat without a template": (["--chat"], "chat template"),
    "two sources": (["--workload", "w.jsonl"], "give one of them"),
}


@pytest.mark.parametrize(("options", "says"), OPTIONS.values(), ids=OPTIONS)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: list[str], says: str) -> None:
    output = tmp_path / "run.wbs"
    assert_refused(run("record", "--prompt", "def f", "-o", output, *options), says)
    assert not output.exists()


def test_prompts_that_cannot_run_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "run.wbs"
    assert_refused(run("record", "--prompt", "", "-o", output), "the prompt is empty")
    assert_refused(
        run("record", "--prompt", "x = 1\n" * 2000, "-o", output), "prompt 1", "the context holds 1024"
    )
    assert_refused(run("record", "--prompt", "x = 1\n" * 20, "--kv-blocks", 2, "-o", output), "the pool has 2")
    assert_refused(run("record", "--prompt", "\udc80", "-o", output), "not UTF-8")
    assert not output.exists()


def test_an_empty_standard_input_is_an_empty_prompt() -> None:
    assert_refused(spawn("record", stdin=""), "the prompt is empty")


LINES: dict[str, tuple[str, str]] = {
    "not JSON": ("{", "line 2"),
    "no prompt": ('{"max_tokens": 3}', "line 2: give exactly one of prompt, messages and prompt_ids"),
    "unknown field": ('{"prompt": "x", "tokens": 3}', "line 2: Object contains unknown field `tokens`"),
    "wrong type": ('{"prompt": 3}', "line 2"),
    "bad setting": ('{"prompt": "x", "top_p": 2}', "line 2: top_p is 2"),
    "unknown token": ('{"prompt_ids": [999999]}', "line 2: token id 999999"),
    "too long": (json.dumps({"prompt_ids": [5] * 2000}), "line 2: the prompt has 2000 tokens"),
    "empty prompt": ('{"prompt": ""}', "line 2: prompt is ''"),
    "huge number": ('{"prompt": "x", "max_tokens": 1e400}', "line 2"),
    "not UTF-8": ("\udcff", "line 2"),
}


@pytest.mark.parametrize(("line", "says"), LINES.values(), ids=LINES)
def test_a_workload_is_refused_with_the_number_of_the_bad_line(tmp_path: Path, line: str, says: str) -> None:
    workload, output = tmp_path / "w.jsonl", tmp_path / "run.wbs"
    text = f'{{"prompt": "def f"}}\n{line}\n'
    workload.write_bytes(text.encode(errors="surrogateescape"))
    assert_refused(run("record", "--workload", workload, "-o", output), str(workload), says)
    assert not output.exists()


def test_a_workload_without_requests_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    assert_refused(run("record", "--workload", tmp_path / "empty.jsonl"), "it has no requests")
    assert_refused(run("record", "--workload", tmp_path / "none.jsonl"), "none.jsonl", "No such file")


def test_numbers_that_no_session_can_hold_are_refused(tmp_path: Path) -> None:
    workload = tmp_path / "w.jsonl"
    for setting in ("max_tokens", "top_k", "seed", "priority", "arrival_step"):
        workload.write_text(json.dumps({"prompt": "def f", setting: 1 << 70}))
        assert_refused(run("record", "--workload", workload, "-o", tmp_path / "run.wbs"), "64 bits")


@pytest.mark.parametrize("command", [("explain",), ("sessions", "show"), ("replay",)])
def test_an_empty_name_is_no_session(command: tuple[str, ...]) -> None:
    assert_refused(run(*command, ""), "the session's name is empty")


def test_an_empty_name_is_no_model() -> None:
    assert_refused(run("record", "", "--prompt", "x"), "the model's name is empty")


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    output = tmp_path / "run.wbs"
    output.write_text("mine")
    assert_refused(run("record", "--prompt", "x", "-o", output), "exists", "--force")
    assert output.read_text() == "mine"


def test_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    assert_refused(run("record", "--prompt", "x", "-o", tmp_path), "is a folder")
    assert_refused(run("record", "--prompt", "x", "-o", tmp_path / "no" / "run.wbs"), "there is no folder")
    assert_refused(run("record", "--prompt", "x", "-o", "/proc/run.wbs"), "/proc/run.wbs")


@pytest.fixture
def session(tmp_path: Path, demo_session: Path) -> Path:
    """A copy of a recorded session, to be spoiled."""
    return Path(shutil.copy(demo_session, tmp_path / "spoiled.wbs"))


def set_version(session: Path) -> None:
    with sqlite3.connect(session) as connection:
        connection.execute("PRAGMA user_version = 99")


def make_database_of_something_else(session: Path) -> None:
    session.unlink()
    with sqlite3.connect(session) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")


SPOILED_SESSIONS: dict[str, tuple[Spoil, str]] = {
    "truncated": (halve, "is truncated"),
    "empty": (lambda session: session.write_bytes(b""), "is empty"),
    "not SQLite": (lambda session: session.write_text("hello " * 100), "no SQLite file"),
    "of something else": (make_database_of_something_else, "of something else"),
    "newer": (set_version, "newer version (schema 99"),
    "gone": (Path.unlink, "no such session"),
}


@pytest.mark.parametrize(("spoil", "says"), SPOILED_SESSIONS.values(), ids=SPOILED_SESSIONS)
def test_a_file_that_is_no_session_is_refused_by_every_command(session: Path, spoil: Spoil, says: str) -> None:
    spoil(session)
    output = session.with_name("out.jsonl")
    assert_refused(run("open", session), says)
    assert_refused(run("sessions", "show", session), says)
    assert_refused(run("export", session, "--to", "jsonl", "-o", output), says)
    assert not output.exists()


def test_an_export_that_makes_no_sense_is_refused(session: Path, tmp_path: Path) -> None:
    assert_refused(run("export", session, "--to", "pdf", "-o", tmp_path / "x"), "--to is pdf: use one of html")
    assert_refused(run("export", session, "--to", "jsonl"), "--output")
    assert_refused(run("export", session, "--to", "jsonl", "-o", session), "exists", "--force")
    assert_refused(run("export", session, "--to", "csv", "-o", tmp_path / "a.csv"), "ends in .zip")


def test_the_screen_needs_a_terminal() -> None:
    assert_refused(spawn(), "needs a terminal")
