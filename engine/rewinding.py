"""Going back: the bookkeeping of an earlier step, and its KV in the pool again."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from engine import events as ev
from engine.execution import Executor, Outcome, recorded_processing, tokens_by_request
from engine.jobs import JobMaker
from engine.option_error import OptionError
from engine.params import EngineOptions
from engine.restoring import Restoring
from engine.state import State
from engine.timeline import Past, Timeline
from engine.tokens import TokenLog

UNKNOWN = -1  # a tick before every write: nothing is known to be intact


class NotExactError(OptionError):
    """A step cannot be had back bit by bit: it stands on KV that was computed again in other chunks."""


class ReplayedDifferentlyError(RuntimeError):
    """A recorded step was run again and chose other tokens: machine, threads or weights are not the same."""


@dataclass(frozen=True, slots=True)
class Rewound:
    """What going back to `step` takes: a new `branch`, and tokens or steps that are computed again.

    `replayed_from` is the step whose KV is whole, when recorded steps are run again.
    """

    branch: int
    step: int
    recomputed_tokens: int = 0
    replayed_steps: int = 0
    replayed_from: int = 0


@dataclass(slots=True)
class _Ticks:
    """When the steps of one branch ended, from step `base` on, in ticks of the executor's write clock."""

    parent: int | None
    base: int
    at: array[int]


class Rewinder:
    """Takes an engine's tensors back. Knows for every step that ran here when it ended."""

    def __init__(self, executor: Executor, timeline: Timeline | None, options: EngineOptions) -> None:
        self._executor = executor
        self._timeline = timeline
        self._most_tokens = options.token_budget
        self._branches: dict[int, _Ticks] = {0: _Ticks(None, 0, array("q", [0]))}

    def note(self, branch: int, step: int) -> None:
        """`step` has ended."""
        ticks = self._branches[branch]
        assert step == ticks.base + len(ticks.at)
        ticks.at.append(self._executor.writes.now)

    def start_branch(self, branch: int, parent: int, step: int) -> None:
        """The engine stands after `step` of `parent`, in a new branch."""
        self._branches[branch] = _Ticks(parent, step, array("q", [self._executor.writes.now]))

    def lose_everything(self) -> None:
        """Count no KV as kept that was written up to now."""
        for ticks in self._branches.values():
            ticks.at = array("q", [UNKNOWN]) * len(ticks.at)

    def way(self, branch: int, step: int) -> dict[int, int]:
        """The branches that lead to `step` of `branch`, each with the last step that is part of the way."""
        found: dict[int, int] = {}
        at: int | None = branch
        while at is not None and (ticks := self._branches.get(at)) is not None:
            found[at] = step
            at, step = ticks.parent, min(step, ticks.base)
        return found

    def cost(self, branch: int, step: int, exact: bool) -> Rewound:
        """What `back_to` would do. Rows that read what a KV policy dropped later can only be had exactly."""
        new = self._history.last_branch() + 1
        past = self._past(branch, step)
        restoring = None if exact else self._restoring(past, branch, step)
        if restoring is not None and restoring.possible:
            tokens = sum(len(part.token_ids) for job in restoring.jobs(self._most_tokens) for part in job.slices)
            return Rewound(new, step, recomputed_tokens=tokens)
        start = self._last_intact(branch, step)
        self._refuse_recomputed(branch, start, step)
        return Rewound(new, step, replayed_steps=step - start, replayed_from=start)

    def back_to(self, branch: int, step: int, exact: bool) -> tuple[Past, Rewound]:
        """Bring the KV of the end of `step` of `branch` back. Raises OptionError before anything is touched."""
        plan = self.cost(branch, step, exact)
        if not plan.replayed_steps:
            past = self._past(branch, step)
            if plan.recomputed_tokens:
                for job in self._restoring(past, branch, step).jobs(self._most_tokens):
                    self._executor.execute(job)
            return past, plan
        past = self._past(branch, plan.replayed_from)
        self._run_again(past, branch, plan.replayed_from, step)
        return past, plan

    @property
    def _history(self) -> Timeline:
        if self._timeline is None:
            raise OptionError("this engine keeps no record of its past: it cannot go back")
        return self._timeline

    def _past(self, branch: int, step: int) -> Past:
        try:
            return self._history.at(branch, step)
        except LookupError as error:
            raise OptionError(str(error.args[0])) from None

    def _restoring(self, past: Past, branch: int, step: int) -> Restoring:
        return Restoring(past, self._executor.writes, self._since(branch, step))

    def _since(self, branch: int | None, step: int) -> int:
        """The tick at which `step` ended on the way to `branch`."""
        while branch is not None and (ticks := self._branches.get(branch)) is not None:
            if step >= ticks.base:
                at = step - ticks.base
                return ticks.at[at] if at < len(ticks.at) else UNKNOWN
            branch = ticks.parent
        return UNKNOWN

    # -- exactly -------------------------------------------------------------------------------------

    def _last_intact(self, branch: int, step: int) -> int:
        """The latest step, at most `step`, whose KV is all in its slots still."""
        for earlier in range(step, 0, -1):
            if self._since(branch, earlier) != UNKNOWN and self._whole(branch, earlier):
                return earlier
        return 0

    def _whole(self, branch: int, step: int) -> bool:
        past = Past(self._state(branch, step), TokenLog())
        return self._restoring(past, branch, step).intact

    def _state(self, branch: int, step: int) -> State:
        try:
            return self._history.state_at(branch, step)
        except LookupError as error:
            raise OptionError(str(error.args[0])) from None

    def _refuse_recomputed(self, branch: int, start: int, step: int) -> None:
        """KV that was computed again in other chunks is not what the recorded steps wrote."""
        for event in self._history.events(branch, start, step):
            if isinstance(event, ev.Branched) and event.recomputed_tokens and event.step > start:
                raise NotExactError(
                    f"step {step} cannot be had exactly: branch {event.branch} began at step {event.step}"
                    f" with {event.recomputed_tokens} tokens computed again, and what it stood on is overwritten"
                )

    def _run_again(self, past: Past, branch: int, start: int, stop: int) -> None:
        """Run the recorded plans of the steps after `start`; `past`, which is at `start`, follows to `stop`."""
        events = self._history.events(branch, start, stop)
        for _, step in groupby(events, key=lambda event: event.step):
            self._run_step(past, list(step))

    def _run_step(self, past: Past, events: list[ev.Event]) -> None:
        failed = any(isinstance(event, ev.StepFailed) for event in events)
        chosen: dict[str, Iterator[int]] = {}
        for index, event in enumerate(events):
            past.state.apply(event)
            past.tokens.apply(event)
            if isinstance(event, ev.Scheduled) and not failed:
                job = JobMaker(past.state, past.tokens).job(events[:index], event.batch)
                outcome: Outcome = self._executor.execute(replace(job, processing=recorded_processing(events)))
                chosen = tokens_by_request(job, outcome)
            elif isinstance(event, ev.BeamsChosen):
                _check_beams(event, outcome)
            elif isinstance(event, ev.Token) and not _is_next(past.state, event, chosen):
                raise ReplayedDifferentlyError(
                    f"step {event.step} was run again and chose another token for request {event.request}"
                    f" at position {event.position}: this is not the machine, or the model, of the record"
                )


def _is_next(state: State, event: ev.Token, chosen: dict[str, Iterator[int]]) -> bool:
    """Whether the token is the next that was chosen for its request; those of beams are checked all at once."""
    return state.requests[event.request].search is not None or next(chosen[event.request]) == event.token


def _check_beams(event: ev.BeamsChosen, outcome: Outcome) -> None:
    """Raise ReplayedDifferentlyError unless the beams' rows give what was chosen from them."""
    for candidate in event.candidates:
        if outcome.beams[candidate.parent].logprob_of(candidate.token) != candidate.logprob:
            raise ReplayedDifferentlyError(
                f"step {event.step} was run again and gave beam {candidate.parent} another log-probability for"
                f" token {candidate.token}: this is not the machine, or the model, of the record"
            )


__all__ = ["NotExactError", "ReplayedDifferentlyError", "Rewinder", "Rewound"]
