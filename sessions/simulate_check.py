"""Whether a simulation with unchanged options says what the record says: else no what-if can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine import events as ev
from engine.engine import MakeStopStrings
from sessions.explain_history import Progress, no_progress
from sessions.header import Header
from sessions.simulate import Setting, Simulation, bookkeeping_of
from sessions.simulate_inputs import Inputs, Obstacle


@dataclass(frozen=True, slots=True)
class Difference:
    """The first event in which a simulation parts from the record; None where one of them has no more to say."""

    step: int
    recorded: ev.Event | None
    simulated: ev.Event | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Steps up to `checked_steps` of `steps` were compared event by event; `difference` is the first that parts.

    With an `obstacle`, something that is not simulated, they end before it.
    """

    steps: int
    checked_steps: int
    obstacle: Obstacle | None = None
    difference: Difference | None = None

    @property
    def reproduced(self) -> bool:
        """Whether every step came out as recorded."""
        return self.difference is None and self.obstacle is None


class _PartedError(Exception):
    """The simulation says something else than the record."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference)
        self.difference = difference


class _Comparison:
    """Holds what a simulation says against the record, event by event."""

    def __init__(self, recorded: Iterator[ev.AnyEvent]) -> None:
        self._recorded = recorded

    def hear(self, event: ev.Event) -> None:
        expected = next(self._recorded, None)
        if expected is None or bookkeeping_of(expected) != bookkeeping_of(event):
            raise _PartedError(Difference(event.step, expected, event))

    def finish(self) -> None:
        if (left := next(self._recorded, None)) is not None:
            raise _PartedError(Difference(left.step, left, None))


def verify(
    inputs: Inputs, header: Header, recorded: Iterable[ev.AnyEvent], stop_strings: MakeStopStrings | None = None,
    progress: Progress = no_progress,
) -> Verdict:  # fmt: skip
    """Run `inputs` as they were, against the events `recorded`, up to the first thing that is not simulated."""
    most = inputs.last_step if inputs.obstacle is None else max(0, inputs.obstacle.step - 1)
    comparison = _Comparison(_compared(recorded, most))
    setting = Setting(header.options, header.num_blocks)
    simulation = Simulation(inputs, header, setting, comparison.hear, stop_strings)
    try:
        simulation.run(most, progress)
        comparison.finish()
    except _PartedError as parted:
        return Verdict(inputs.last_step, most, inputs.obstacle, parted.difference)
    return Verdict(inputs.last_step, most, inputs.obstacle)


def _compared(recorded: Iterable[ev.AnyEvent], last_step: int) -> Iterator[ev.AnyEvent]:
    """Events up to `last_step`, but those that change no bookkeeping.

    Where the run went back, its branch goes on from the step it names; logits only show in tokens.
    """
    left_out = ev.Branched | ev.LogitsChanged
    return (event for event in recorded if event.step <= last_step and not isinstance(event, left_out))
