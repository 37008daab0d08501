"""The process that writes a session: obeys frames on stdin until they end, and reports on stdout.

The engine and its writer must not share an interpreter lock: on the bundled model at batch 8, a writer
thread cost a third of the tokens per second.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

from engine import events as ev
from sessions.channel import Frames, Report, Said, send
from sessions.errors import RecorderError
from sessions.scratch import Scratch
from sessions.writer import Writer

FLUSH_AFTER_S: Final = 0.02
"""How long the plan of a slow step, or what is said in a pause, waits before it is written."""


class WriterLoop:
    """Writes after every step, when asked, and when nothing more has come for a while."""

    def __init__(self, writer: Writer, scratch: Scratch, frames: Frames[Said], reports: int) -> None:
        self._writer = writer
        self._scratch = scratch
        self._frames = frames
        self._reports = reports
        self._steps = 0
        self._flushes = 0
        self._capturing = False  # tensors came, and their step's results are about to
        self._error: str | None = None  # the latest write failed; its rows are kept
        self._lost: str | None = None  # what was said makes no sense: nothing more can be recorded

    def run(self) -> None:
        """Work until the frames end, then close the session."""
        while True:
            waits = self._writer.pending and not self._capturing
            if waits and not self._frames.wait(FLUSH_AFTER_S):
                self._write()
            said = self._frames.next()
            if said is None:
                break
            self._take(said)
            self._capturing = bool(said.tensors)
            if said.ends_step or said.flush:
                self._write()
                self._steps += said.ends_step
                self._flushes += said.flush
                self._report()
        self._close()

    def _take(self, said: Said) -> None:
        if self._lost is not None:
            return
        self._writer.capture(said.tensors)
        if not said.events:
            return
        events = ev.decode_lines(said.events)
        try:
            self._writer.take(events, None if said.logits is None else self._scratch.get(said.logits))
        except Exception as error:  # a fault of ours must not end the run that is being recorded
            step = events[-1].step
            self._lost = f"{self._writer.path}: recording stopped at step {step}: {type(error).__name__} {error}"

    def _write(self) -> None:
        if self._lost is not None:
            return
        try:
            self._writer.write()
            self._error = None
        except RecorderError as error:
            self._error = str(error)

    def _close(self) -> None:
        try:
            self._writer.close()
        except RecorderError as error:
            self._error = str(error)
        self._report()

    def _report(self) -> None:
        with contextlib.suppress(OSError):  # the engine is gone; what it said is written
            send(self._reports, Report(self._steps, self._flushes, self._lost or self._error))


def main() -> None:
    """`python -m sessions.writer_process SESSION SCRATCH_FD`: the end of the frames ends it, no signal does."""
    for unwanted in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(unwanted, signal.SIG_IGN)
    reports = os.dup(1)
    os.dup2(2, 1)  # a stray print must not end up among the reports
    WriterLoop(Writer(Path(sys.argv[1])), Scratch(int(sys.argv[2])), Frames(0, Said), reports).run()


if __name__ == "__main__":
    main()
