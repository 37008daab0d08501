"""A recorded run again, without the model: the engine's own scheduler and bookkeeping on the recorded tokens.

A token depends on its request and position alone, so that those of the record hold under any schedule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from engine import events as ev
from engine.capture import Captured
from engine.engine import Engine, MakeStopStrings
from engine.execution import DetailsOf, Executor, Limits
from engine.params import EngineOptions
from sessions.explain_history import Progress, no_progress
from sessions.header import Header
from sessions.simulate_inputs import Abort, Arrival, Fork, Input, Inputs, Preempt, SetPolicy
from sessions.simulate_tokens import RecordedTokens


@dataclass(frozen=True, slots=True)
class Setting:
    """How to run: `options` on a pool of `num_blocks`. With `keep_policy` recorded changes of it do not count."""

    options: EngineOptions
    num_blocks: int
    keep_policy: bool = False


class Listener:
    """A sink that hands every event on."""

    def __init__(self, hear: Callable[[ev.Event], None]) -> None:
        self._hear = hear

    def record(self, events: Sequence[ev.Event]) -> None:
        for event in events:
            self._hear(event)

    def capture(self, tensors: Sequence[Captured]) -> None:
        """There are none."""

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:  # noqa: ARG002
        self.record(events)

    def close(self) -> None:
        """Nothing to close."""


class Simulation:
    """Runs `inputs` under `setting`, and tells `hear` everything that the engine says.

    Arrivals keep their step; steps that would be idle are skipped, and counted. Who would choose a token that the
    record does not have is ended there, and counted as `cut_short`.
    """

    def __init__(
        self, inputs: Inputs, header: Header, setting: Setting, hear: Callable[[ev.Event], None],
        stop_strings: MakeStopStrings | None = None,
    ) -> None:  # fmt: skip
        self.inputs = inputs
        self.engine = Engine(
            cast(Executor, RecordedTokens(inputs.tokens)), _limits(header, inputs), setting.num_blocks,
            setting.options, Listener(hear), stop_strings,
        )  # fmt: skip
        self.skipped_steps = 0
        self.cut_short: set[str] = set()
        self._keep_policy = setting.keep_policy
        self._pending = deque(inputs.given)
        self._early_forks: list[Fork] = []  # whose parents are not there yet

    def run(self, last_step: int | None = None, progress: Progress = no_progress) -> None:
        """Until nothing is left to do, or until `last_step` has ended and what came after it was given."""
        while True:
            self._give()
            step = self.engine.state.step
            if not self.engine.busy or (last_step is not None and step >= last_step):
                return
            self._cut_short()
            if self.engine.busy:
                self.engine.step()
                progress(min(step, self.inputs.last_step), self.inputs.last_step)

    # -- inputs --------------------------------------------------------------------------------------

    def _give(self) -> None:
        """What came after the steps taken so far; what comes next at once when there is nothing to run."""
        early, self._early_forks = self._early_forks, []
        for fork in early:
            self._obey(fork)
        while self._pending:
            wait = self._pending[0].step - self.engine.state.step - self.skipped_steps
            if wait > 0 and self.engine.busy:
                return
            self.skipped_steps += max(0, wait)
            self._obey(self._pending.popleft())

    def _obey(self, given: Input) -> None:
        match given:
            case Arrival(spec=spec, requests=requests):
                self._number(requests[0])
                for id_ in self.engine.submit(spec):
                    self._leave_out(id_)
            case Fork():
                self._fork(given)
            case Abort(request=request):
                self._abort(request)
            case Preempt(request=request):
                if request in self.engine.state.running:
                    self.engine.preempt(request)
            case SetPolicy(policy=policy):
                if not self._keep_policy:
                    self.engine.set_policy(policy)

    def _number(self, request: str) -> None:
        """The next request gets the number that it has in the record, though a fork before it may still wait."""
        self.engine.state.next_request = int(request.partition(".")[0])

    def _leave_out(self, request: str) -> None:
        """One that the record refused has no tokens: it comes and goes, to keep its number."""
        if request in self.inputs.refused and request in self.engine.state.requests:
            self.engine.abort(request)

    def _fork(self, fork: Fork) -> None:
        """Once the parent is as far as the place where the fork parts from it."""
        parent = fork.spec.parent
        if parent in self.engine.tokens and len(self.engine.tokens.tokens_of(parent)) >= fork.spec.at_position:
            self._number(fork.request)
            self.engine.fork(fork.spec)
        else:
            self._early_forks.append(fork)

    def _abort(self, request: str) -> None:
        """Only one that got as far as in the record; another is ended where its tokens end."""
        live = self.engine.state.requests.get(request)
        if live is not None and live.output_tokens >= len(self.inputs.output_of(request)):
            self.engine.abort(request)

    # -- the end of what is known --------------------------------------------------------------------

    def _cut_short(self) -> None:
        """End whoever would choose a token in this step that the record does not have."""
        while spent := self._spent():
            self.cut_short |= spent
            for id_ in spent:
                self.engine.abort(id_)

    def _spent(self) -> set[str]:
        live, known = self.engine.state.requests, self.inputs.output_of
        maybe = {
            id_ for id_ in self.inputs.open_ended & live.keys() if live[id_].output_tokens >= len(known(id_))
        }
        return maybe & set(self._choosing()) if maybe else set()

    def _choosing(self) -> Iterator[str]:
        """Whose next token the coming step would choose. Planning changes nothing."""
        state = self.engine.state
        for work in self.engine.scheduler.plan(state).batch:
            request = state.requests[work.request]
            if work.stop == request.num_tokens:
                yield request.id
                yield from (heir.id for heir in state.heirs(request))


def _limits(header: Header, inputs: Inputs) -> Limits:
    """A record without a prefix cache does not show which prompts the model lets share: then all may."""
    shape = header.shape
    shareable = inputs.shareable_prompt if header.options.prefix_cache else None
    return Limits(
        shape.max_context, shape.vocab_size, frozenset(header.eos_ids), shareable, shape.layers, shape.heads
    )


def bookkeeping_of(event: ev.Event) -> ev.Event:
    """`event` without what is not bookkeeping: its branch, observed times, draws, and what a fork changed."""
    match event:
        case ev.StepCommitted():
            return ev.StepCommitted(
                branch=0, step=event.step, tokens=event.tokens, started_ns=0, plan_ns=0, forward_ns=0,
                sample_ns=0, commit_ns=0,
            )  # fmt: skip
        case ev.Token():
            return msgspec.structs.replace(event, branch=0, draw=None)
        case ev.Forked():
            return msgspec.structs.replace(event, branch=0, changed=())
    return msgspec.structs.replace(event, branch=0) if event.branch else event
