"""The command line: what goes where, exit codes, and names for models and sessions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sessions.places import sessions_folder
from tests.commands import BUNDLED, ROOT, run, spawn
from workbench.cli import VERSION
from workbench.cli.boundary import with_default
from workbench.cli.errors import CommandError
from workbench.cli.model_finder import find_models, resolve_model
from workbench.cli.sizes import parse_size, show_size


def test_help_and_version_go_to_stdout() -> None:
    shown = spawn("--help")
    assert (shown.code, shown.err) == (0, "")
    for command in ("record", "open", "export", "sessions", "models", "doctor"):
        assert command in shown.out
    assert "_engine" not in shown.out
    assert spawn("--version").out == f"workbench {VERSION}\n"


def test_no_command_means_the_screen() -> None:
    commands = ("run", "record")
    assert with_default([], commands, "run") == ["run"]
    assert with_default(["a/model", "--seed", "3"], commands, "run") == ["run", "a/model", "--seed", "3"]
    assert with_default(["--seed", "3"], commands, "run") == ["run", "--seed", "3"]
    assert with_default(["record", "x"], commands, "run") == ["record", "x"]
    assert with_default(["--help"], commands, "run") == ["--help"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1 << 20),
        ("512MiB", 512 << 20),
        ("1.5 GiB", 3 << 29),
        ("2G", 2 << 30),
        ("3kb", 3000),
        ("7B", 7),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size("--kv-memory", text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e9", "12XB", "9" * 40])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="--kv-memory"):
        parse_size("--kv-memory", text)


def test_sizes_are_shown_in_the_largest_unit_that_fits() -> None:
    assert [show_size(size) for size in (12, 2048, 3 << 20, 5 << 30)] == ["12 B", "2.0 KiB", "3.0 MiB", "5.0 GiB"]


# -- models ----------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face cache with one repository in two revisions, main the one that is later by name."""
    hub = tmp_path / "hub"
    repository = hub / "models--someone--tiny--python"
    for revision in ("aaa", "bbb"):
        shutil.copytree(BUNDLED, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("bbb")
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    return hub


def test_models_are_found_in_the_project_in_folders_and_in_the_cache(hub: Path, tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "mine" / "deep" / "copy")
    found = {(model.name, model.source) for model in find_models([tmp_path / "mine"])}
    assert ("tiny-python", "bundled") in found
    assert ("someone/tiny--python", "cache") in found
    assert (str(tmp_path / "mine" / "deep" / "copy"), "folder") in found


def test_a_name_means_a_folder_a_bundled_model_or_a_repository(hub: Path, tmp_path: Path) -> None:
    assert resolve_model(str(tmp_path)) == tmp_path
    assert resolve_model("tiny-python") == BUNDLED
    assert resolve_model("someone/tiny--python").name == "bbb"


def test_a_card_says_what_a_model_is_and_that_it_runs() -> None:
    ran = run("models", "show", "--json")
    card = json.loads(ran.out)
    config = json.loads((BUNDLED / "config.json").read_text())
    assert (ran.code, ran.err) == (0, "")
    assert card["runs"] is True
    assert card["why_not"] is None
    assert card["architecture"] == "LlamaForCausalLM"
    assert card["layers"] == config["num_hidden_layers"]
    assert card["kv_bytes_per_token"] == 2 * 4 * card["layers"] * card["kv_heads"] * card["head_dim"]
    assert {file["name"] for file in card["files"]} == {path.name for path in BUNDLED.iterdir()}


def test_a_model_that_cannot_run_is_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    (card,) = [each for each in json.loads(run("models", "ls", tmp_path, "--json").out) if "old" in each["name"]]
    assert card["runs"] is False
    assert card["architecture"] == "GPT2LMHeadModel"
    assert "GPT2LMHeadModel" in card["why_not"]
    assert "no" in run("models", "ls", tmp_path).out


# -- sessions --------------------------------------------------------------------------------------------


@pytest.fixture
def kept(demo_session: Path) -> Path:
    """The demo in the user's own folder of sessions."""
    sessions_folder().mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(demo_session, sessions_folder() / "demo.wbs"))


def test_sessions_are_listed_shown_and_deleted_by_name(kept: Path) -> None:
    (sessions_folder() / "broken.wbs").write_text("no")
    listed = {each["name"]: each for each in json.loads(run("sessions", "ls", "--json").out)}
    assert listed["demo"]["steps"] > 60
    assert listed["demo"]["requests"] == 7
    assert "not a session" in listed["broken"]["error"]

    shown = json.loads(run("sessions", "show", "demo", "--json").out)
    assert shown["summary"] == listed["demo"]
    assert len(shown["requests"]) == 7
    assert shown["preemptions"] > 0
    assert "sha256" in run("sessions", "show", "demo").out

    assert run("sessions", "rm", "demo").code == 0
    assert not kept.exists()
    assert run("sessions", "rm", "broken").code == 2
    assert run("sessions", "rm", "broken", "--force").code == 0
    assert json.loads(run("sessions", "ls", "--json").out) == []


def test_nothing_is_deleted_when_one_of_the_names_is_wrong(kept: Path) -> None:
    assert run("sessions", "rm", "demo", "nothing").code == 2
    assert kept.exists()


@pytest.mark.parametrize(("kind", "name"), [("jsonl", "a.jsonl"), ("perfetto", "a.json"), ("csv", "a.zip")])
def test_exports_are_written_once(demo_session: Path, tmp_path: Path, kind: str, name: str) -> None:
    output = tmp_path / name
    ran = run("export", demo_session, "--to", kind, "-o", output, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["size_bytes"] == output.stat().st_size > 1000
    assert run("export", demo_session, "--to", kind, "-o", output).code == 2
    assert run("export", demo_session, "--to", kind, "-o", output, "--force").code == 0


def test_an_export_can_go_to_standard_output(demo_session: Path) -> None:
    ran = spawn("export", demo_session, "--to", "jsonl", "-o", "-")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out.splitlines()[0])["type"] == "header"
    assert run("export", demo_session, "--to", "jsonl", "-o", "-", "--json").code == 2


# -- doctor and the shell --------------------------------------------------------------------------------


def test_the_doctor_finds_this_machine_fit() -> None:
    ran = run("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(ran.out)}
    assert ran.code == 0
    assert findings["torch"]["status"] == "ok"
    assert "sha256" in findings["bundled model"]["found"]
    assert "bundled model" in run("doctor").out


def test_the_doctor_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.cli.doctor.PACKAGES", ("no-such-package",))
    ran = run("doctor")
    assert ran.code == 1
    assert "no-such-package" in ran.out


def test_foreign_text_cannot_drive_the_terminal(tmp_path: Path) -> None:
    ran = run("record", "no\x1b[2Jmodel", "--prompt", "x")
    assert "\x1b" not in ran.err
    shutil.copytree(BUNDLED, tmp_path / "a\x1b]0;title\x07b")
    assert "\x1b" not in run("models", "ls", tmp_path).out


@pytest.mark.parametrize("command", [["models", "ls"], ["record", "--help"]])
def test_a_reader_that_has_gone_is_an_interruption_and_no_verdict(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    line = [sys.executable, str(ROOT / "main.py"), *command]
    try:
        done = subprocess.run(line, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (130, b"")
