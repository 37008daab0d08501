"""Records a run into a session file that another process writes: what the engine talks to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from engine import events as ev
from engine.execution import DetailsOf
from sessions.errors import RecorderError
from sessions.header import Header
from sessions.keyframes import MAX_EVENTS
from sessions.scratch import Scratch
from sessions.writer import create
from sessions.writer_process import (
    ANSWER,
    CLOSE,
    COMMIT,
    FLUSH,
    FRAME,
    SAID,
    SETUP,
    Setup,
    read_exactly,
)

ROOT = Path(__file__).parent.parent


class ProcessRecorder:
    """A `Sink` whose writer, in a process of its own, is at most one step behind.

    When the file cannot be written, the next call raises RecorderError; nothing is lost, and every later
    write tries again. When the engine dies, the writer finishes what it was told and closes the file.
    """

    def __init__(
        self,
        path: Path,
        header: Header,
        tokenizer_json: bytes | None = None,
        *,
        force: bool = False,
        keyframe_every: int = MAX_EVENTS,
    ) -> None:
        """Start a new session file at `path`; replace one that exists only if `force`. Raises RecorderError."""
        self.path = path
        create(path, header, tokenizer_json, force)
        self._scratch = Scratch.create()
        self._process = _start(self._scratch)
        self._frames = cast(BinaryIO, self._process.stdin)
        self._slot = 0
        self._unanswered = 0
        self._closed = False
        setup = Setup(str(path.absolute()), header, tokenizer_json, keyframe_every)
        self._send(SETUP, msgspec.msgpack.encode(setup))

    def record(self, events: Sequence[ev.Event]) -> None:
        self._send(SAID, _lines(events))

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:
        self._hear()  # of the step before: the writer may be one step behind, not two
        logits = None if details is None else details.logits
        if logits is None:
            self._send(COMMIT, _lines(events))
        else:
            self._slot = 1 - self._slot
            self._scratch.put(self._slot, logits)
            rows, vocab = logits.shape
            self._send(COMMIT, _lines(events), self._slot, rows, vocab, self._scratch.slot_bytes)
        self._unanswered += 1

    def flush(self) -> None:
        """Return when everything said so far is in the file. Raises RecorderError when it is not."""
        self._hear()
        self._send(FLUSH)
        self._unanswered += 1
        self._hear()

    def close(self) -> None:
        """Write the rest and leave one file. Raises RecorderError when something could not be written."""
        if self._closed:
            return
        self._closed = True
        try:
            self._send(CLOSE)
            self._unanswered += 1
            self._hear()
        finally:
            self._frames.close()
            cast(BinaryIO, self._process.stdout).close()
            self._process.wait()
            self._scratch.close()

    def _send(
        self, kind: bytes, payload: bytes = b"", slot: int = 0, rows: int = 0, vocab: int = 0, slot_bytes: int = 0
    ) -> None:
        try:
            self._frames.write(FRAME.pack(kind, len(payload), slot, rows, vocab, slot_bytes) + payload)
            self._frames.flush()
        except (OSError, ValueError) as error:
            raise self._gone() from error

    def _hear(self) -> None:
        """Wait for what is unanswered, and raise the first problem that it tells."""
        problem = ""
        while self._unanswered:
            self._unanswered -= 1
            problem = problem or self._answer()
        if problem:
            raise RecorderError(problem)

    def _answer(self) -> str:
        answers = cast(BinaryIO, self._process.stdout)
        head = read_exactly(answers, ANSWER.size)
        line = None if head is None else read_exactly(answers, *ANSWER.unpack(head))
        if line is None:
            raise self._gone()
        return line.decode()

    def _gone(self) -> RecorderError:
        self._unanswered = 0
        code = self._process.wait()
        return RecorderError(f"{self.path}: its writer ended (exit code {code}); what was committed is kept")


def _start(scratch: Scratch) -> subprocess.Popen[bytes]:
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "sessions.writer_process", str(scratch.fd)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(scratch.fd,),
        env=os.environ | {"PYTHONPATH": search},
        start_new_session=True,
    )


def _lines(events: Sequence[ev.Event]) -> bytes:
    return b"\n".join(map(ev.encode, events))
