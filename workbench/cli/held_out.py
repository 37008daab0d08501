"""The text that methods are compared on: the user's, or a bundled piece of Python that no model has seen."""

from __future__ import annotations

from pathlib import Path

from workbench.cli.console import say
from workbench.cli.errors import CommandError

SAMPLE = Path(__file__).with_suffix(".txt")


def read_text(path: Path | None, doing: str) -> str:
    """The text at `path`, or the bundled sample, which is said then. Raises CommandError where it is no text."""
    if path is None:
        say(f"no --text: {doing} the bundled sample, {SAMPLE.name}, a short piece of Python")
    try:
        return (path or SAMPLE).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: it is not UTF-8 text: give another file") from error
