"""Command lines as tests run them: in this process, or as a user's shell does."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from main import app
from workbench.cli.boundary import run_command

ROOT = Path(__file__).parent.parent
BUNDLED = ROOT / "models" / "tiny-python"


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended."""

    code: int
    out: str
    err: str


def run(*arguments: object) -> Ran:
    """Run `workbench ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(app, [str(argument) for argument in arguments], default="run")
    return Ran(code, out.getvalue(), err.getvalue())


def spawn(*arguments: object, stdin: str = "") -> Ran:
    """Run `python main.py ARGUMENTS` as a process of its own."""
    line = [sys.executable, str(ROOT / "main.py"), *map(str, arguments)]
    done = subprocess.run(line, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)
