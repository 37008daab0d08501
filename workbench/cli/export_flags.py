"""The options of `export`: which part of a session, and what only some formats have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, get_args

import typer

ExportFormat: TypeAlias = Literal[
    "html", "jsonl", "perfetto", "csv", "sqlite", "parquet", "safetensors", "dot", "asciicast"
]
"""The names in `workbench.exporting.FORMATS`."""
FORMAT_NAMES = ", ".join(get_args(ExportFormat))


def _part(what: str) -> Any:
    return typer.Option(help=what, show_default=False, rich_help_panel="Which part")


def _format(what: str, default: str) -> Any:
    return typer.Option(help=what, show_default=default, rich_help_panel="Of one format")


@dataclass(frozen=True, slots=True)
class ExportFlags:
    """Which part of a session, and what only some formats have (`sessions.export.options.ExportOptions`)."""

    branch: Annotated[int | None, _part("A branch and the history it continues; otherwise the latest.")] = None
    steps: Annotated[str | None, _part("Steps, as in 10:20, 10: or :20; both ends included.")] = None
    requests: Annotated[str | None, _part("Requests, as in 1,3.0; 3 stands for all its samples.")] = None
    layers: Annotated[str | None, _part("Layers of captured tensors, as in 0-3 or 5,7.")] = None
    redact: Annotated[
        bool,
        typer.Option(
            "--redact", help="Replace text by marks, token ids by pseudonyms.", rich_help_panel="Which part"
        ),
    ] = False
    stages: Annotated[str | None, _format("Captured stages, as in attn_pattern (safetensors).", "all")] = None
    step: Annotated[int | None, _format("The step whose tree is drawn (dot).", "the last")] = None
    max_mb: Annotated[float | None, _format("The largest page, in MB (html).", "25")] = None
    size: Annotated[str | None, _format("Columns x lines (asciicast).", "100x30")] = None
    views: Annotated[str | None, _format("Views to walk through (asciicast).", "overview")] = None
    fps: Annotated[float | None, _format("Steps a second (asciicast).", "4")] = None
