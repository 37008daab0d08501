"""Records a run into a session file that another process writes: what the engine talks to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, cast

from engine import events as ev
from engine.capture import Captured
from engine.execution import DetailsOf
from sessions.channel import Frames, Report, Said, send
from sessions.cores import OtherCores
from sessions.creating import copy_session, create_session
from sessions.errors import RecorderError
from sessions.header import Header
from sessions.scratch import Place, Scratch

_ROOT: Final = Path(__file__).resolve().parent.parent
_KEEPS_ITS_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
"""For glibc: else it gives the memory of every step back, and fetches it again a page fault at a time."""


class Recorder:
    """A `Sink` whose writer is at most one step behind: when `commit` returns, the step before is in the file.

    When the file cannot be written, the next `commit` or `flush` raises RecorderError; nothing that was
    said is lost, and every later call tries again. When the engine dies, the writer finishes what it was
    told and closes the file.
    """

    def __init__(
        self, path: Path, header: Header, tokenizer_json: bytes | None = None, *, force: bool = False
    ) -> None:
        """Start a session at `path`; replace a file that exists only if `force`. Raises RecorderError."""
        create_session(path, header, tokenizer_json, force)
        self._begin(path)

    @classmethod
    def going_on(cls, recording: Path, path: Path, *, force: bool = False) -> Recorder:
        """Start at `path` with a copy of a recording, which a new branch is to grow in. Raises RecorderError."""
        copy_session(recording, path, force)
        recorder = cls.__new__(cls)
        recorder._begin(path)
        return recorder

    def _begin(self, path: Path) -> None:
        """Start the process that writes the session at `path`."""
        self.path = path
        self._scratch = Scratch.create()
        self._process = _start(path, self._scratch)
        self._writer_cores = OtherCores(self._process.pid)
        self._frames = cast(BinaryIO, self._process.stdin)
        self._reports = cast(BinaryIO, self._process.stdout)
        self._heard = Frames(self._reports.fileno(), Report)
        self._steps = 0  # sent
        self._flushes = 0  # sent
        self._latest = Report(0, 0, None)

    @property
    def pid(self) -> int:
        """The process that writes the file."""
        return self._process.pid

    def record(self, events: Sequence[ev.Event]) -> None:
        """Take events between steps, or a plan. What is wrong is said by the next `commit` or `flush`."""
        self._send(Said(ev.encode_lines(events)))

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:
        """Take the results of a step, and wait until the step before it is written."""
        self._steps += 1
        self._writer_cores.keep()
        self._send(Said(ev.encode_lines(events), self._place(details), ends_step=True))
        self._wait_for_step(self._steps - 1)
        self._raise_error()

    def capture(self, tensors: Sequence[Captured]) -> None:
        """Keep tensors of the step under way; they are written with it."""
        self._send(Said(tensors=tuple(tensors)))

    def flush(self) -> None:
        """Return when everything said so far is in the file. Raises RecorderError when it is not."""
        self._flushes += 1
        self._send(Said(flush=True))
        while self._latest.flushes < self._flushes:
            self._hear()
        self._raise_error()

    def close(self) -> None:
        """Write the rest and leave one file. Raises RecorderError when something could not be written."""
        if self._frames.closed:
            return
        self._frames.close()
        while (report := self._heard.next()) is not None:
            self._latest = report
        self._reports.close()
        self._scratch.close()
        if self._process.wait() != 0:
            raise self._gone()
        self._raise_error()

    def _place(self, details: DetailsOf | None) -> Place | None:
        """Copy the logits to the slot that the writer is done with: it is never two steps behind."""
        if details is None or details.logits is None:
            return None
        if not self._scratch.holds(details.logits):  # larger slots lie elsewhere: over those of the step before
            self._wait_for_step(self._steps - 1)
        return self._scratch.put(self._steps % 2, details.logits)

    def _wait_for_step(self, step: int) -> None:
        """Return when the writer is done with `step`, counted in commits."""
        while self._latest.steps < step:
            self._hear()

    def _send(self, said: Said) -> None:
        try:
            send(self._frames.fileno(), said)
        except OSError:
            if said.ends_step or said.flush:  # a plan is recorded with its step, or not at all
                raise self._gone() from None

    def _hear(self) -> None:
        report = self._heard.next()
        if report is None:
            raise self._gone()
        self._latest = report

    def _gone(self) -> RecorderError:
        code = self._process.wait()
        return RecorderError(
            f"{self.path}: its writer ended early (exit code {code}); what was committed is kept"
        )

    def _raise_error(self) -> None:
        if self._latest.error is not None:
            raise RecorderError(self._latest.error)


def _start(path: Path, scratch: Scratch) -> subprocess.Popen[bytes]:
    """The writer, in a session of its own: an interrupt in the terminal is for the engine to handle."""
    search = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "sessions.writer_process", str(path.absolute()), str(scratch.fd)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        pass_fds=(scratch.fd,),
        env=os.environ | _KEEPS_ITS_MEMORY | {"PYTHONPATH": search},
        start_new_session=True,
    )
