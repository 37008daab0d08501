"""When steps began and ended, gathered as they are committed: how long a stretch of them took."""

from __future__ import annotations

from array import array

from engine import events as ev


class StepClock:
    """Times of the steps after `base`. Of a failed step none is known: it counts as nothing."""

    def __init__(self, base: int) -> None:
        self._base = base
        self._started = array("q")
        self._ended = array("q")
        self._busy = array("q", [0])  # until the end of each step

    def see(self, event: ev.StepCommitted | ev.StepFailed) -> None:
        """A step has ended."""
        while len(self._started) < event.step - self._base - 1:
            self._add(0, 0)
        if isinstance(event, ev.StepFailed):
            self._add(0, 0)
        else:
            self._add(event.started_ns, event.plan_ns + event.forward_ns + event.sample_ns + event.commit_ns)

    def busy_ns(self, first_step: int, last_step: int) -> int:
        """The time of the steps themselves."""
        start, stop = self._bounds(first_step, last_step)
        return self._busy[stop] - self._busy[start] if start < stop else 0

    def wall_ns(self, first_step: int, last_step: int) -> int | None:
        """From the start of the first step whose time is known to the end of the last; None without any."""
        start, stop = self._bounds(first_step, last_step)
        while start < stop and not self._started[start]:
            start += 1
        while start < stop and not self._started[stop - 1]:
            stop -= 1
        return self._ended[stop - 1] - self._started[start] if start < stop else None

    def _bounds(self, first_step: int, last_step: int) -> tuple[int, int]:
        return max(0, first_step - self._base - 1), min(len(self._started), last_step - self._base)

    def _add(self, started_ns: int, busy_ns: int) -> None:
        self._started.append(started_ns)
        self._ended.append(started_ns + busy_ns)
        self._busy.append(self._busy[-1] + busy_ns)
