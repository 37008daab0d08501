"""Scripts of the debugger's commands: read and checked as a whole, before anything runs. No torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.debug import commands as do
from engine.debug.bound import Expression
from engine.debug.checker import Known, check_condition
from engine.debug.errors import DebugError
from engine.debug.registry import Line, read_line
from engine.debug.verify import verify
from engine.model.config import read_config
from engine.params import EngineOptions
from engine.text.convert import load_tokenizer
from workbench.cli.errors import CommandError

ANY_BLOCK = 1 << 24
"""How many blocks there will be is known when the model is loaded; then it is checked again."""


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """A command, and where it stands."""

    where: str
    line: Line


@dataclass(frozen=True, slots=True)
class Script:
    """Commands to carry out in order, and conditions that must hold throughout."""

    lines: tuple[ScriptLine, ...]
    conditions: tuple[Expression, ...]


def read_script(paths: Sequence[Path], conditions: Sequence[str], folder: Path, options: EngineOptions) -> Script:
    """The commands of the files, one after the other, checked against the model in `folder`.

    Raises CommandError with the file and the line of what is wrong.
    """
    known = _known(folder, options)
    lines = tuple(line for path in paths for line in _read(path, known))
    return Script(lines, tuple(_condition(text, known) for text in conditions))


def _known(folder: Path, options: EngineOptions) -> Known:
    config, tokenizer = read_config(folder), load_tokenizer(folder)

    def encode(text: str) -> Sequence[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    return Known(config.layers, options.kv_blocks or ANY_BLOCK, config.vocab_size, encode)


def _condition(text: str, known: Known) -> Expression:
    try:
        return check_condition(text, known)
    except DebugError as error:
        raise CommandError(f"--assert {text!r}: {error}") from error


def _read(path: Path, known: Known) -> Iterator[ScriptLine]:
    name = "standard input" if str(path) == "-" else str(path)
    numbered = iter(enumerate(_text(path).splitlines(), 1))
    for number, text in numbered:
        if _says_something(text):
            where = f"{name}: line {number}"
            try:
                line = read_line(text)
                verify(line.command, known)
                if isinstance(line.command, do.Commands) and not line.command.lines:
                    line = replace(line, command=_block(line.command, numbered, known))
            except DebugError as error:
                raise CommandError(f"{where}: {error}") from error
            yield ScriptLine(where, line)


def _block(command: do.Commands, numbered: Iterator[tuple[int, str]], known: Known) -> do.Commands:
    """`commands` with the lines that follow it, up to `end`."""
    lines: list[str] = []
    for _, text in numbered:
        if text.strip() == "end":
            return do.Commands(command.number, tuple(lines))
        if _says_something(text):
            verify(read_line(text).command, known)
            lines.append(text.strip())
    raise DebugError("these commands have no `end`")


def _says_something(text: str) -> bool:
    return bool(text.strip()) and not text.lstrip().startswith("#")


def _text(path: Path) -> str:
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return data.decode()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}: --script takes a file of commands") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
