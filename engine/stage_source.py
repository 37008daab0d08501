"""Which lines of our own source a paused forward pass has run since it was paused before. No torch."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, GeneratorType
from typing import Any, NamedTuple, TypeVar

from engine.stage_report import Source

_ROOT = Path(__file__).parent.parent
"""The folder that the package lies in: files are named from there."""
_Trace = Callable[[FrameType, str, Any], Any]
_T = TypeVar("_T")


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
        self._ran: dict[FrameType, list[int]] = {}

    def watch(self, run_on: Callable[[], _T]) -> _T:
        """What `run_on` returns, which lets the generator run to its next pause."""
        self._ran = {}
        if sys.gettrace() is not None:
            return run_on()
        sys.settrace(self._called)
        try:
            return run_on()
        finally:
            sys.settrace(None)

    def follow(self, generator: Generator[Any, Any, Any]) -> tuple[Ran, ...]:
        """What ran, from the outermost function to the one that is paused. Others left nothing to show."""
        chain = _chain(generator)
        ran = [Ran(frame.f_code, tuple(sorted(set(self._ran.get(frame, ()))))) for frame in chain]
        if chain and not ran[-1].lines:
            ran[-1] = Ran(chain[-1].f_code, (chain[-1].f_lineno,))
        return tuple(each for each in ran if each.lines)

    def _called(self, frame: FrameType, _event: str, _arg: Any) -> _Trace | None:
        if not frame.f_code.co_flags & inspect.CO_GENERATOR:
            return None
        lines = self._ran.setdefault(frame, [])

        def line(frame: FrameType, event: str, _arg: Any) -> _Trace:
            if event == "line":
                lines.append(frame.f_lineno)
            return line

        return line


def sources_of(ran: tuple[Ran, ...]) -> tuple[Source, ...]:
    """The same lines with their text."""
    return tuple(
        Source(_relative(code), code.co_qualname, code.co_firstlineno, _text(code), lines) for code, lines in ran
    )


def _chain(generator: Any) -> list[FrameType]:
    chain: list[FrameType] = []
    while isinstance(generator, GeneratorType) and (frame := generator.gi_frame) is not None:
        chain.append(frame)
        generator = generator.gi_yieldfrom
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
