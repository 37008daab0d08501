"""What a run was given, read back from its events: requests and commands, each with the step it came after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from engine import events as ev
from engine.forking import ForkSpec
from engine.ids import sibling_ids
from engine.params import Policy, RequestSpec
from engine.reasons import REFUSALS, ByHand, CacheOff, FinishDetail
from engine.tokens import TokenLog


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request, or several samples of one, submitted after `step`; `requests` are the ids they got."""

    step: int
    spec: RequestSpec
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fork:
    """`request` was forked from another one after `step`."""

    step: int
    spec: ForkSpec
    request: str


@dataclass(frozen=True, slots=True)
class Abort:
    """`request` was aborted after `step`."""

    step: int
    request: str


@dataclass(frozen=True, slots=True)
class Preempt:
    """`request` was preempted by hand after `step`."""

    step: int
    request: str


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """Requests were admitted in another order after `step`."""

    step: int
    policy: Policy


Input: TypeAlias = Arrival | Fork | Abort | Preempt | SetPolicy


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something in the record that is not simulated, in `step`: an event of type `kind`."""

    step: int
    kind: str


@dataclass(slots=True)
class Inputs:
    """Everything that the bookkeeping of a run depends on but its options, and the tokens that it chose.

    Requests in `open_ended` did not end by their tokens (aborted, failed, out of room, cut off): what would come
    after those is not known. Those in `refused` have none. Prompts of more than `shareable_prompt` tokens share
    no blocks.
    """

    given: list[Input] = field(default_factory=list)
    tokens: TokenLog = field(default_factory=TokenLog)
    open_ended: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    obstacle: Obstacle | None = None
    last_step: int = 0
    shareable_prompt: int | None = None

    def output_of(self, request: str) -> Sequence[int]:
        """The tokens that the record has of its output."""
        return self.tokens.tokens_of(request)[self.tokens.prompt_tokens_of(request) :]


_BY_TOKENS: Final[frozenset[FinishDetail]] = frozenset({"eos", "stop_id", "stop_string", "max_tokens", "context"})
_NOT_SIMULATED: Final = (
    ev.StepFailed, ev.PluginDisabled, ev.Dropped, ev.Drafted, ev.Offloaded, ev.Weighed,
)  # fmt: skip


def read_inputs(events: Iterable[ev.AnyEvent]) -> Inputs:
    """The inputs of the run that said `events`."""
    inputs = Inputs()
    for event in events:
        inputs.last_step = max(inputs.last_step, event.step)
        inputs.tokens.apply(event)
        _note_obstacle(inputs, event)
        _note(inputs, event)
    return inputs


def _note(inputs: Inputs, event: ev.AnyEvent) -> None:
    match event:
        case ev.Submitted():
            inputs.open_ended.add(event.request)
            if event.sample == 0:
                inputs.given.append(_arrival(event))
        case ev.Forked():
            inputs.open_ended.add(event.request)
            inputs.given.append(Fork(event.step, _fork(event), event.request))
        case ev.Finished():
            _finished(inputs, event)
        case ev.Preempted(reason=ByHand()):
            inputs.given.append(Preempt(event.step, event.request))
        case ev.PolicyChanged():
            inputs.given.append(SetPolicy(event.step, event.policy))
        case ev.PrefixMatched(end=CacheOff()):
            most = inputs.tokens.prompt_tokens_of(event.request) - 1
            before = inputs.shareable_prompt
            inputs.shareable_prompt = most if before is None else min(before, most)


def _arrival(event: ev.Submitted) -> Arrival:
    spec = RequestSpec(event.prompt_ids, event.params, event.samples, event.priority)
    ids = tuple(sibling_ids(event.request, event.samples)) if event.samples > 1 else (event.request,)
    return Arrival(event.step, spec, ids)


def _fork(event: ev.Forked) -> ForkSpec:
    """What to ask for, to get this fork. Its settings are given, so that they need not be worked out again."""
    return ForkSpec(
        event.parent, event.at_position, params=event.params,
        token=event.appended[0] if "token" in event.changed else None,
        prompt_ids=event.appended if "prompt" in event.changed else None,
        scales=event.intervened.scales if event.intervened and "stages" in event.changed else (),
    )  # fmt: skip


def _finished(inputs: Inputs, event: ev.Finished) -> None:
    if event.detail in _BY_TOKENS:
        inputs.open_ended.discard(event.request)
    elif event.detail in REFUSALS:
        inputs.refused.add(event.request)
    elif event.detail == "aborted":
        inputs.given.append(Abort(event.step, event.request))


def _note_obstacle(inputs: Inputs, event: ev.AnyEvent) -> None:
    by_hand = isinstance(event, ev.Evicted) and event.for_request == ev.BY_HAND
    if inputs.obstacle is None and (by_hand or isinstance(event, _NOT_SIMULATED)):
        inputs.obstacle = Obstacle(event.step, "evicted by hand" if by_hand else ev.type_of(event))
