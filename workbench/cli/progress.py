"""A bar on stderr for work that takes long, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Told how much is done, and of how much."""

    def __call__(self, done: int, total: int, /) -> None: ...


@contextmanager
def progress_bar(doing: str, unit: str) -> Iterator[Progress]:
    """A bar that says `doing … 12/64 unit`; nothing at all where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn(doing),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn(unit),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _silent(_done: int, _total: int) -> None:
    pass
