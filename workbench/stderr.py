"""Keeps what native libraries write to stderr off the screen, which Textual draws through the same descriptor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def kept_off_screen(log: Path | None) -> Iterator[None]:
    """Send descriptor 2 to `log` (or nowhere); Textual keeps drawing on the terminal. Only on a terminal."""
    if sys.__stderr__ is None or not sys.__stderr__.isatty():
        yield
        return
    kept = sys.__stderr__
    terminal = os.dup(2)
    target = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(target, 2)
    os.close(target)
    setattr(sys, "__stderr__", os.fdopen(terminal, "w", encoding="utf-8", closefd=False))  # noqa: B010
    try:
        yield
    finally:
        sys.__stderr__.flush()
        setattr(sys, "__stderr__", kept)  # noqa: B010
        os.dup2(terminal, 2)
        os.close(terminal)


__all__ = ["kept_off_screen"]
