"""A command of this program, run in a process of its own: the screen neither waits for it nor loads torch."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Told = Callable[[str], None]


class ProgramError(RuntimeError):
    """A command that came to nothing: the last line it said."""


@dataclass
class Program:
    """One run of a command: `run` blocks, on a worker's thread; `stop` ends it from any other."""

    command: Sequence[str]
    said: str = ""  # its last line on standard error
    _process: subprocess.Popen[str] | None = None
    _stopped: bool = False

    def run(self, told: Told, good: Sequence[int] = (0,)) -> bytes | None:
        """What it wrote to standard output; None when it was stopped. `told` hears what it says meanwhile.

        Raises ProgramError where the exit code is none of `good`.
        """
        with tempfile.TemporaryFile() as answer:
            code = self._run(answer.fileno(), told)
            if self._stopped:
                return None
            if code not in good:
                raise ProgramError(self.said or f"the command ended with exit code {code} and said nothing")
            answer.seek(0)
            return answer.read()

    def stop(self) -> None:
        self._stopped = True
        if self._process is not None:
            self._process.terminate()

    def _run(self, answer: int, told: Told) -> int:
        """Wait for the process; its exit code."""
        with subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=answer, stderr=subprocess.PIPE, text=True,
            errors="replace",
        ) as process:  # fmt: skip
            self._process = process
            if self._stopped:
                process.terminate()
            assert process.stderr is not None
            for line in process.stderr:
                self.said = line.strip().removeprefix("workbench: ") or self.said
                told(self.said)
        return process.returncode


__all__ = ["Program", "ProgramError", "Told"]
