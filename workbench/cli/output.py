"""Files that commands write: made where they were asked for, and never over something else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from workbench.cli.errors import CommandError


def check_output(output: Path, force: bool) -> None:
    """Raise CommandError when `output` cannot be made, or is there and may not be replaced."""
    if output.is_dir():
        raise CommandError(f"{output}: is a folder: give the name of a file")
    if output.exists() and not force:
        raise CommandError(f"{output} exists: choose another name, or overwrite it with --force")
    if not output.parent.is_dir():
        raise CommandError(f"{output}: there is no folder {output.parent}: make it first")
    if not os.access(output.parent, os.W_OK) or (output.exists() and not os.access(output, os.W_OK)):
        raise CommandError(f"{output} cannot be written: you have no permission; choose another place")


def check_keeps(output: Path, read: Iterable[Path]) -> None:
    """Raise CommandError when `output` is one of the files that are `read`: not even --force replaces those."""
    for file in read:
        if output.exists() and file.exists() and output.samefile(file):
            raise CommandError(f"{output}: is what is read: choose another name for what is written")
