"""What the workbench opens: a recorded session, or an engine to start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.params import EngineOptions
from engine.protocol import RequestText, Resume

ENGINE_WORD: Final = "_engine"
"""The hidden command that serves an engine; files of plugins may follow it."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A session file, finished or still written by somebody else.

    No engine is started; `command` could start one to look at the model behind it, as in `Live`. `compare` is
    another session to open beside it.
    """

    session: Path
    command: Sequence[str] = ()
    compare: Path | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """An engine to start in a process of its own: `command` serves `engine.protocol` on its stdin and stdout.

    It loads `model`, records to `session` and gets `workload`; `force` replaces a session that is there.
    What its libraries write to stderr goes to `log`. With `resume` the session begins as a copy of a recording.
    """

    command: Sequence[str]
    model: Path
    session: Path
    options: EngineOptions
    workload: Sequence[RequestText] = ()
    force: bool = False
    log: Path | None = None
    resume: Resume | None = None


Source = Recorded | Live


def program_of(command: Sequence[str]) -> list[str]:
    """What starts this program without a screen: the command that starts an engine, up to that word."""
    return [*command][: command.index(ENGINE_WORD)] if ENGINE_WORD in command else []


__all__ = ["ENGINE_WORD", "Live", "Recorded", "Source", "program_of"]
