"""Ctrl+C that waits for the end of a step."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Interrupt:
    """`wanted` once the user has pressed Ctrl+C."""

    wanted: bool = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Inside, the first Ctrl+C only sets `wanted`; a second one raises KeyboardInterrupt at once."""
    interrupt = Interrupt()

    def note(_number: int, _frame: object) -> None:
        if interrupt.wanted:
            raise KeyboardInterrupt
        interrupt.wanted = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
