"""The handle on an engine in another process: start it, send commands, hear answers. No torch."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, BinaryIO, cast

import msgspec

from engine import protocol as pr


class EngineClient:
    """An engine process and the thread that listens to it.

    `on_answer` is called on that thread for every answer, and `on_exit` once with the exit code when the
    process is gone, whatever ended it. A process that nobody can listen to any more is killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        on_answer: Callable[[pr.Answer], None],
        on_exit: Callable[[int], None],
        log: Path | None = None,
    ) -> None:
        self._on_answer = on_answer
        self._on_exit = on_exit
        self._ids = count(1)
        self._lock = threading.Lock()
        self._log: IO[bytes] | int = log.open("ab") if log is not None else subprocess.DEVNULL
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )
        self._thread = threading.Thread(target=self._listen, name="engine answers", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, command: pr.Command) -> int:
        """Send `command`; returns the id its reply will carry. ChannelError when the engine is gone."""
        with self._lock:
            numbered = msgspec.structs.replace(command, id=next(self._ids))
            pr.send(cast(BinaryIO, self._process.stdin), numbered)
            return numbered.id

    def close(self, timeout_s: float = 10.0) -> int:
        """Ask the engine to close its session and exit; kill it when it does not. The exit code."""
        if self.alive:
            with suppress(pr.ChannelError):  # it is exiting by itself
                self.send(pr.Close())
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._thread.join(timeout_s)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # unsent bytes to a process that is gone
                    stream.close()
        if not isinstance(self._log, int):
            self._log.close()
        return code

    def _listen(self) -> None:
        try:
            while (answer := pr.receive_answer(cast(BinaryIO, self._process.stdout))) is not None:
                self._on_answer(answer)
        except (pr.ChannelError, ValueError):
            self._process.kill()  # its end is reported below
        except Exception:
            self._process.kill()
            raise
        finally:
            self._on_exit(self._process.wait())
