"""Which lines of our own source a paused forward pass has run since it was paused before. No torch."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from engine.stage_report import Source

_ROOT = Path(__file__).parent.parent
"""The folder that the package lies in: files are named from there."""
_Trace = Callable[[FrameType, str, Any], Any]


class Ran(NamedTuple):
    """Lines of a function that ran, in order."""

    code: CodeType
    lines: tuple[int, ...]


class SourceTrail:
    """Follows a generator, and those it delegates to, from one pause to the next.

    Lines are seen by a trace function, which is set while the generator runs; where somebody else has set one,
    only the line of the pause itself is known.
    """

    def __init__(self) -> None:
        self._ran: dict[int, tuple[FrameType, list[int]]] = {}  # by the id of the frame, which is kept alive

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Run the generator on inside of this."""
        self._ran = {}
        if sys.gettrace() is not None:
            yield
            return
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(None)

    def follow(self, generator: Generator[Any, Any, Any]) -> tuple[Ran, ...]:
        """What ran, from the outermost function to the one that is paused. Others left nothing to show."""
        chain = _chain(generator)
        ran = [Ran(frame.f_code, self._lines_of(frame)) for frame in chain]
        if chain and not ran[-1].lines:
            ran[-1] = Ran(chain[-1].f_code, (chain[-1].f_lineno,))
        return tuple(each for each in ran if each.lines)

    def _lines_of(self, frame: FrameType) -> tuple[int, ...]:
        _, lines = self._ran.get(id(frame), (frame, []))
        return tuple(sorted(set(lines)))

    def _called(self, frame: FrameType, _event: str, _arg: Any) -> _Trace | None:
        return self._line if frame.f_code.co_flags & inspect.CO_GENERATOR else None

    def _line(self, frame: FrameType, event: str, _arg: Any) -> _Trace:
        if event == "line":
            self._ran.setdefault(id(frame), (frame, []))[1].append(frame.f_lineno)
        return self._line


def sources_of(ran: tuple[Ran, ...]) -> tuple[Source, ...]:
    """The same lines with their text."""
    return tuple(
        Source(_relative(code), code.co_qualname, code.co_firstlineno, _text(code), lines) for code, lines in ran
    )


def _chain(generator: Any) -> list[FrameType]:
    chain = []
    while isinstance(generator, Generator) and (frame := getattr(generator, "gi_frame", None)) is not None:
        chain.append(frame)
        generator = getattr(generator, "gi_yieldfrom", None)
    return chain


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
