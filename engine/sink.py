"""Who records a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.capture import Captured
from engine.events import Event
from engine.execution import DetailsOf


class Sink(Protocol):
    """Who records a run. `record` and `commit` must return fast; `details` may be evaluated on another thread."""

    def record(self, events: Sequence[Event]) -> None:
        """Events between steps, or the plan of the step that is about to execute. Must not raise."""
        ...

    def capture(self, tensors: Sequence[Captured]) -> None:
        """Tensors of the step that is committed next. Only called where `EngineOptions.capture` asks for some."""
        ...

    def commit(self, events: Sequence[Event], details: DetailsOf | None) -> None:
        """The results of the step, closed by `step_committed` or `step_failed`.

        May raise RuntimeError when the record cannot be written: the step holds all the same, and the run
        can go on where the sink has kept what it was told.
        """
        ...

    def close(self) -> None:
        """The run is over: nothing more will be said."""
        ...
