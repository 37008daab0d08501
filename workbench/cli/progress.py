"""A bar on stderr for work that takes long, where that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

BETWEEN_LINES_S = 0.2


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
    with bars.Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def told_progress(doing: str, unit: str, *, lines: bool) -> Iterator[Progress]:
    """The bar; or with `lines` the same a line at a time, a few a second, for whoever reads standard error."""
    if not lines:
        with progress_bar(doing, unit) as progress:
            yield progress
        return
    print(f"{doing} …", file=sys.stderr, flush=True)
    said = time.monotonic()

    def say_line(done: int, total: int) -> None:
        nonlocal said
        if total and time.monotonic() - said >= BETWEEN_LINES_S:
            said = time.monotonic()
            print(f"{doing}: {done} of {total} {unit}", file=sys.stderr, flush=True)

    yield say_line


def _silent(_done: int, _total: int) -> None:
    pass
