"""The formats: what each is called and for, which options it takes, and what writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias

from sessions.errors import SessionError
from sessions.export.excerpt import Excerpt
from sessions.export.options import ExportOptions
from sessions.export.output import Progress

Write: TypeAlias = Callable[[Excerpt, BinaryIO, Progress], None]
WriteFolder: TypeAlias = Callable[[Excerpt, Path, Progress], None]
Shape = Literal["file", "zip", "folder or zip"]


@dataclass(frozen=True, slots=True)
class Format:
    """A format. `module` has `write(excerpt, stream, progress)`, and `write_folder` where it can be a folder.

    `options` are the fields of ExportOptions that mean something for it.
    """

    name: str
    suffix: str
    meaning: str
    module: str
    options: frozenset[str]
    shape: Shape = "file"

    def write_export(self, excerpt: Excerpt, stream: BinaryIO, progress: Progress) -> None:
        """Write it to a stream. What does is imported now."""
        write: Write = import_module(self.module).write
        write(excerpt, stream, progress)

    @property
    def write_folder(self) -> WriteFolder:
        function: WriteFolder = import_module(self.module).write_folder
        return function

    def check(self, options: ExportOptions, output: Path) -> None:
        """Raise SessionError for an option that this format does not take, or a name that it cannot have."""
        for name in options.given:
            if name not in self.options:
                raise SessionError(f"--{name.replace('_', '-')} means nothing for {self.name}: leave it out")
        if self.shape == "zip" and output.suffix != ".zip":
            raise SessionError(
                f"{output}: {self.name} is a .zip of one file a table: give a name that ends in .zip"
            )


_ALL: Final = frozenset({"branch", "redact"})
_ROWS: Final = _ALL | {"steps", "requests"}


def _format(name: str, suffix: str, meaning: str, options: frozenset[str], shape: Shape = "file") -> Format:
    return Format(name, suffix, meaning, f"sessions.export.{name}", options, shape)


FORMATS: Final[dict[str, Format]] = {
    each.name: each
    for each in (
        _format("html", ".html", "one page to share: text, sampler, attention, timeline, KV map",
                _ROWS | {"layers", "max_mb"}),
        _format("jsonl", ".jsonl", "every event, one JSON object a line", _ROWS),
        _format("perfetto", ".perfetto.json", "a trace for ui.perfetto.dev: steps, requests, counters", _ROWS),
        _format("csv", ".csv.zip", "a .zip of every table, for spreadsheets", _ROWS, "zip"),
        _format("sqlite", ".sqlite", "every table unpacked, for SQL tools", _ROWS),
        _format("parquet", ".parquet", "a folder or .zip of all tables, for data frames", _ROWS, "folder or zip"),
        _format("safetensors", ".safetensors", "captured tensors, for numpy and torch",
                _ROWS | {"layers", "stages"}),
        _format("dot", ".dot", "the radix tree at a step, for Graphviz", _ALL | {"step"}),
    )
}  # fmt: skip
