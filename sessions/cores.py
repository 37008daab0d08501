"""Keeps a process off the core where this thread computes.

On a busy machine, a pipe's wake-up starts the reader where the writer of the pipe runs: the process that
records would take its time from the very step it records, a quarter of the tokens per second.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys


class OtherCores:
    """Allows process `pid` all cores of this process but the current one, where the system has a say in that."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cores = os.sched_getaffinity(0) if sys.platform == "linux" else set()
        self._kept_off = -1
        if len(self._cores) > 1:
            self._core = ctypes.CDLL(None).sched_getcpu

    def keep(self) -> None:
        """Follow this thread, which may have moved."""
        if len(self._cores) > 1 and (core := self._core()) != self._kept_off:
            self._kept_off = core
            with contextlib.suppress(OSError):  # the process is gone, or bound by someone else
                os.sched_setaffinity(self._pid, self._cores - {core})
