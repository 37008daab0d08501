"""Moments of a recorded run, one after the other: what a point would have been judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine import events as ev
from engine import keyframe
from engine.debug.bound import Place
from engine.debug.candidates import KnownCandidates, Row, chosen_of
from engine.debug.checker import Known
from engine.debug.errors import LacksError
from engine.debug.judging import Instant
from engine.debug.moment import Chosen, Moment
from engine.debug.said import When, place_text
from engine.debug.values import Value
from engine.sanitise import display_text
from engine.state import State
from engine.text import Tokenizer
from engine.wording import sentence
from sessions.errors import SessionError
from sessions.reader import Session

_RESULTS = (ev.Computed, ev.StepCommitted, ev.StepFailed)
_ENDS = (ev.StepCommitted, ev.StepFailed)
AT_ONCE = 256
_ENGINE = "is not in the record: the engine knows it while it computes, so load the model and go on from here"


class NoStages:
    """Stages of a recorded pass: their tensors were not kept."""

    def value(self, place: Place, statistic: str, request: str) -> Value:
        raise LacksError(f"{place_text(*place)}.{statistic} of request {request} {_ENGINE}")

    def any_nan(self, request: str) -> Value:
        raise LacksError(f"any_nan of request {request} {_ENGINE}")


def known_of(session: Session) -> Known:
    """What names may speak of in a session."""
    about, vocabulary = session.header, session.vocabulary
    encode = None
    if isinstance(vocabulary, Tokenizer):
        tokenizer = vocabulary

        def encode(text: str) -> Sequence[int]:
            return tokenizer.encode(text, add_special_tokens=False)

    return Known(about.shape.layers, about.num_blocks, about.shape.vocab_size, encode)


@dataclass(frozen=True)
class RecordedStep:
    """What was said in `step` of `branch`: its plan, its results, and what came `after` it before the next."""

    session: Session
    branch: int
    step: int
    plan: Sequence[ev.Event]
    results: Sequence[ev.Event]
    after: Sequence[ev.Event]

    @property
    def batch(self) -> tuple[ev.Work, ...]:
        return next((event.batch for event in self.plan if isinstance(event, ev.Scheduled)), ())

    @cached_property
    def tokens(self) -> list[tuple[Chosen, KnownCandidates]]:
        """The tokens that the step chose, in order, and what else could have been chosen."""
        details = {(d.request, d.position): d for d in self.session.details_of_step(self.step, self.branch)}
        found = []
        for event in self.results:
            if isinstance(event, ev.Token):
                about = details.get((event.request, event.position))
                bare = Chosen(event.request, event.position, event.token, event.draw)
                logits = self._logits(event.request, event.position)
                found.append((bare if about is None else chosen_of(about), KnownCandidates(about, logits)))
        return found

    def _logits(self, request: str, position: int) -> Row | None:
        """The captured logits of the row that chose the request's token at `position`."""
        for tensor in self.session.tensors(self.step, self.branch):
            key = tensor.key
            here = key.stage, key.request, key.start, tensor.dtype
            if here == ("logits", request, position - 1, "F32"):
                values: Row = np.frombuffer(self.session.tensor_bytes(tensor), "<f4")
                return values[-tensor.shape[-1] :]
        return None


class Recording:
    """Moments of a session, live ones included as far as they are written."""

    def __init__(self, session: Session, branch: int) -> None:
        self.session = session
        self.branch = branch
        self.stages = NoStages()

    # -- one moment ----------------------------------------------------------------------------------

    def moment(self, step: int, request: str | None = None, position: int | None = None) -> Moment:
        """The end of `step`, looking at a request, and at its token at `position`, or the one of this step."""
        state = self.session.state_at(step, self.branch)
        if request is None:
            return self._moment(state, self.step(step).batch)
        if position is not None:
            at = self._chosen_step(request, position)
            chooser = self.session.chooser(request, position, self.branch)
            about = _token_of(self.step(at), chooser, position)
            return self._moment(state, self.step(step).batch, request, about)
        here = self.step(step)
        return self._moment(state, here.batch, request, _token_of(here, request))

    def _chosen_step(self, request: str, position: int) -> int:
        row = self.session.token(request, position, self.branch)
        if row is None:
            raise LacksError(f"request {request} chose no token at position {position}")
        return row.chosen_step

    def _moment(
        self, state: State, batch: tuple[ev.Work, ...], request: str | None = None,
        about: tuple[Chosen, KnownCandidates] | None = None,
    ) -> Moment:  # fmt: skip
        chosen, candidates = (None, None) if about is None else about
        return Moment(
            state, batch, lambda other: self._existed(other, state), self.session.token_text, self.stages,
            request, chosen, candidates,
        )  # fmt: skip

    def _existed(self, request: str, state: State) -> bool:
        try:
            return self.session.request(request, self.branch).arrival < state.next_arrival
        except SessionError:
            return False

    # -- all moments ---------------------------------------------------------------------------------

    def walk_without_state(self, first: int, last: int) -> Iterator[Instant]:
        """The moments of steps `first` to `last`, for what does not ask about the bookkeeping."""
        state = State(1, 1)
        lineage = self.session.lineage(self.branch)
        after: Sequence[ev.Event] = ()
        for here in self.steps(max(first - 1, 0), last):
            state.step, state.branch = here.step, lineage.owner(here.step)
            if here.step >= first and here.results:
                yield self._instant("planned", state, here, [*after, *here.plan])
                yield self._instant(_ended(here), state, here, here.results)
            after = here.after if here.step else here.plan

    def walk(self, first: int, last: int) -> Iterator[Instant]:
        """The moments of steps `first` to `last`, in order, with the one before them in front.

        The state is one that moves on: judge each moment before taking the next.
        """
        first = max(first, 1)
        state, after = self._before(first)
        if first == 1:
            yield self._instant("committed", state, self.step(0), ())
            state.apply_all(after)
        for here in self.steps(max(first - 1, 1), last):
            if not here.results:
                return
            state.apply_all(here.plan)
            if here.step >= first:
                yield self._instant("planned", state, here, [*after, *here.plan])
            state.apply_all(here.results)
            yield self._instant(_ended(here), state, here, here.results if here.step >= first else ())
            state.apply_all(here.after)
            after = here.after

    def _before(self, first: int) -> tuple[State, Sequence[ev.Event]]:
        """A state to change, two steps before `first`; for the first step an empty one, and what is to come."""
        if first == 1:
            about = self.session.header
            return State.at_start(about.num_blocks, about.options), self.step(0).plan
        return _copy(self.session.state_at(first - 2, self.branch)), ()

    def steps(self, first: int, last: int) -> Iterator[RecordedStep]:
        """What was said in steps `first` to `last`."""
        for start in range(first, last + 1, AT_ONCE):
            stop = min(start + AT_ONCE - 1, last)
            said: dict[int, list[ev.Event]] = {}
            for event in self.session.events_in(start, stop, self.branch):
                said.setdefault(event.step, []).append(event)
            yield from (self._step(number, said.get(number, [])) for number in range(start, stop + 1))

    def step(self, number: int) -> RecordedStep:
        """What was said in a step."""
        return next(self.steps(number, number))

    def _step(self, number: int, events: Sequence[ev.Event]) -> RecordedStep:
        if number == 0:  # what was said before the first step
            return RecordedStep(self.session, self.branch, 0, events, (), ())
        end = next((i for i, event in enumerate(events) if isinstance(event, _ENDS)), len(events) - 1) + 1
        begin = next((i for i, event in enumerate(events[:end]) if isinstance(event, _RESULTS)), end)
        return RecordedStep(self.session, self.branch, number, events[:begin], events[begin:end], events[end:])

    def _instant(self, when: When, state: State, here: RecordedStep, happened: Sequence[ev.Event]) -> Instant:
        def requests() -> Iterable[Moment]:
            return [self._moment(state, here.batch, request) for request in state.requests]

        def tokens() -> Iterable[Moment]:
            chosen = here.tokens if when == "committed" else ()
            return (self._moment(state, here.batch, about[0].request, about) for about in chosen)

        return Instant(
            when, self._moment(state, here.batch), requests, tokens, happened, self._sentence, strict=False
        )

    def _sentence(self, event: ev.Event) -> str:
        return sentence(event, lambda token: display_text(self.session.token_text(token)))


def _token_of(
    here: RecordedStep, request: str, position: int | None = None
) -> tuple[Chosen, KnownCandidates] | None:
    """The token that a step chose for a request, at a position or wherever."""
    own = (each for each in here.tokens if each[0].request == request)
    return next((each for each in own if position in (None, each[0].position)), None)


def _ended(here: RecordedStep) -> When:
    return "failed" if any(isinstance(event, ev.StepFailed) for event in here.results) else "committed"


def _copy(state: State) -> State:
    return keyframe.unpack(keyframe.pack(state))
