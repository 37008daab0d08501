"""What a person waits for at start-up: the side of the screen never imports torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.exported import record_spiced
from workbench.exporting import FORMATS

SCRIPT = """
import sys
from workbench.cli.boundary import run_command
from main import app

code = run_command(app, sys.argv[1:], default="run")
loaded = sorted({"torch", "transformers", "numpy"} & set(sys.modules))
print("LOADED", *loaded, file=sys.stderr)
sys.exit(code)
"""

TORCH_FREE = (
    "engine.client", "engine.details", "engine.engine", "engine.events", "engine.host", "engine.keyframe",
    "engine.model.checkpoint", "engine.model.config", "engine.model.fingerprint", "engine.params",
    "engine.protocol", "engine.scheduler", "engine.state", "engine.text", "engine.workload",
    "workbench.cli.screen", "sessions.reader", "sessions.recorder", "workbench.app",
)  # fmt: skip


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def loaded_by(*arguments: str) -> str:
    done = python(SCRIPT, *arguments)
    assert done.returncode in (0, 2), done.stderr
    return done.stderr.rpartition("LOADED")[2].strip()


@pytest.mark.parametrize(
    "command", ["--help", "run", "record --help", "sessions ls", "models ls", "plugins ls", "doctor"]
)
def test_commands_that_run_no_model_import_no_torch(command: str) -> None:
    assert loaded_by(*command.split()) == ""


def test_reading_a_session_imports_no_torch(demo_session: Path, tmp_path: Path) -> None:
    path = str(demo_session)
    assert loaded_by("sessions", "show", path) == ""
    assert loaded_by("open", path) == ""
    assert loaded_by("explain", path) == ""
    assert "torch" not in loaded_by("explain", path, "--what-if", "policy=lpm")
    for kind, name in (("jsonl", "a.jsonl"), ("perfetto", "a.json"), ("csv", "a.zip")):
        assert loaded_by("export", path, "--to", kind, "-o", str(tmp_path / name)) == ""


@pytest.mark.parametrize("to", FORMATS)
def test_no_export_imports_torch(tmp_path: Path, to: str) -> None:
    path = record_spiced(tmp_path / "spiced.wbs")
    output = str(tmp_path / f"out{'.zip' if FORMATS[to].shape != 'file' else FORMATS[to].suffix}")
    part = ("--steps", "1:2") if to == "asciicast" else ()
    assert "torch" not in loaded_by("export", str(path), "--to", to, "-o", output, "--redact", *part)


def test_the_shared_vocabulary_and_the_screens_import_no_torch() -> None:
    modules = "\n".join(f"import {name}" for name in TORCH_FREE)
    done = python(f"import sys\n{modules}\nprint(*({{'torch', 'transformers'}} & set(sys.modules)))")
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
