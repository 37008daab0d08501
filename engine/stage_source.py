"""Which lines of our own source a paused forward pass has run since it was paused before. No torch."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from engine.stage_report import Source

_ROOT = Path(__file__).parent.parent
"""The folder that the package lies in: files are named from there."""


class Ran(NamedTuple):
    """Lines `first` to `last` of a function."""

    code: CodeType
    first: int
    last: int


class SourceTrail:
    """Follows a generator, and those it delegates to, from one pause to the next."""

    def __init__(self) -> None:
        self._before: list[tuple[FrameType, int]] = []

    def follow(self, generator: Generator[Any, Any, Any]) -> tuple[Ran, ...]:
        """What ran since the pause before, from the outermost function to the innermost.

        A function that was entered since then ran from its first line on. One that ended since then is left
        out: nothing of it led to this pause.
        """
        chain = _chain(generator)
        lines = {id(frame): line for frame, line in self._before}
        self._before = chain
        ran = (_ran(frame.f_code, lines.get(id(frame)), line) for frame, line in chain)
        return tuple(each for each in ran if each is not None)


def sources_of(ran: tuple[Ran, ...]) -> tuple[Source, ...]:
    """The same lines with their text."""
    return tuple(
        Source(_relative(code), code.co_qualname, code.co_firstlineno, _text(code), first, last)
        for code, first, last in ran
    )


def _chain(generator: Any) -> list[tuple[FrameType, int]]:
    chain = []
    while isinstance(generator, Generator) and (frame := getattr(generator, "gi_frame", None)) is not None:
        chain.append((frame, frame.f_lineno))
        generator = getattr(generator, "gi_yieldfrom", None)
    return chain


def _ran(code: CodeType, before: int | None, now: int) -> Ran | None:
    """None where nothing did: the function waits for the one it delegates to."""
    if before == now:
        return None
    if before is None:
        return Ran(code, code.co_firstlineno, now)
    return Ran(code, before + 1 if before < now else now, now)


def _relative(code: CodeType) -> str:
    path = Path(code.co_filename)
    return path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else path.name


@cache
def _text(code: CodeType) -> tuple[str, ...]:
    """The lines of a function; none where its source is not here."""
    try:
        lines, _ = inspect.getsourcelines(code)
    except OSError:
        return ()
    return tuple(line.rstrip("\n") for line in lines)
