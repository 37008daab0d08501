"""The workbench in a real terminal, as a person starts and leaves it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sessions.places import sessions_folder, side_files
from sessions.reader import Session
from tests.commands import ROOT

ROWS, COLUMNS = 24, 80
ESCAPE = re.compile(rb"\x1b(\[[0-9;?<=>]*[A-Za-z]|\][^\x07]*\x07|[PX^_].*?\x1b\\|.)")


class Terminal:
    """`python main.py ARGUMENTS` in a terminal of 80x24."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored
            os.execve(
                sys.executable,
                [sys.executable, str(ROOT / "main.py"), *arguments],
                os.environ | {"TERM": "xterm-256color"},
            )
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = psutil.Process(self.pid)
        self.shown = b""

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Read until `text` was written somewhere on the screen."""
        self.shown = b""
        end = time.monotonic() + seconds
        while text.encode() not in ESCAPE.sub(b"", self.shown):
            assert time.monotonic() < end, f"{text!r} did not appear in {ESCAPE.sub(b'', self.shown)[-2000:]!r}"
            self._read()

    def press(self, keys: str) -> None:
        os.write(self._file, keys.encode())

    def wait(self, seconds: float = 30) -> int:
        """The exit code, once the process has ended."""
        end = time.monotonic() + seconds
        while (done := os.waitpid(self.pid, os.WNOHANG))[0] == 0:
            assert time.monotonic() < end, "it does not end"
            self._read()
        return os.waitstatus_to_exitcode(done[1])

    def hang_up(self) -> None:
        os.close(self._file)

    def _read(self) -> None:
        if select.select([self._file], [], [], 0.05)[0]:
            try:
                self.shown += os.read(self._file, 1 << 16)
            except OSError:
                time.sleep(0.05)  # the other end is closed: it is about to exit


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    for path in sessions_folder().glob("*"):
        path.unlink()
    terminal = Terminal()
    yield terminal
    for process in [*terminal.process.children(recursive=True), terminal.process] if alive(terminal) else []:
        process.kill()


def alive(terminal: Terminal) -> bool:
    return terminal.process.is_running() and terminal.process.status() != psutil.STATUS_ZOMBIE


def recorded() -> tuple[Path, int]:
    """The one session there is, and its last step."""
    (path,) = (path for path in sessions_folder().iterdir() if path.suffix == ".wbs")
    with Session.open(path) as session:
        return path, session.last_step()


def test_it_opens_paused_takes_a_step_and_leaves_one_file(terminal: Terminal) -> None:
    terminal.wait_for("paused at step 0")
    assert recorded()[1] == 0
    terminal.press("n")
    terminal.wait_for("step 1 of 1")
    started = terminal.process.children(recursive=True)
    terminal.press("q")
    assert terminal.wait() == 0
    _, left = psutil.wait_procs(started, timeout=20)
    assert not left
    path, steps = recorded()
    assert steps == 1
    assert not any(file.exists() for file in side_files(path))


def test_a_terminal_that_is_closed_takes_everything_with_it(terminal: Terminal) -> None:
    terminal.wait_for("paused at step 0")
    started = terminal.process.children(recursive=True)
    assert started
    terminal.press("c")
    terminal.wait_for("running")
    terminal.hang_up()
    os.kill(terminal.pid, signal.SIGHUP)
    terminal_ended = psutil.wait_procs([terminal.process], timeout=20)[1]
    _, left = psutil.wait_procs(started, timeout=20)
    assert not left
    assert not terminal_ended
    path, _ = recorded()
    assert not any(file.exists() for file in side_files(path))
