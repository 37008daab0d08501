"""The inputs in a record: events that a person, a script or a workload caused, and what causes them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import events as ev
from engine.params import ForkSpec, RequestSpec
from engine.plug_guard import PluginFailedError
from engine.reasons import ByHand

if TYPE_CHECKING:
    from sessions.replay import Replayable


def is_input(event: ev.Event) -> bool:
    """Whether `event` was caused from outside, between two steps."""
    match event:
        case ev.Submitted() | ev.Forked() | ev.PolicyChanged() | ev.Branched():
            return True
        case ev.PluginDisabled(request=request):
            return request is None
        case ev.Finished(detail=detail):
            return detail == "aborted"
        case ev.Preempted(reason=reason):
            return isinstance(reason, ByHand)
        case ev.Evicted(for_request=request):
            return request == ev.BY_HAND
        case _:
            return False


def repeat(event: ev.Event, engine: Replayable) -> None:
    """Do to `engine` what caused `event`, the first of those that it caused."""
    match event:
        case ev.Submitted():
            engine.submit(RequestSpec(event.prompt_ids, event.params, event.samples, event.priority))
        case ev.Forked():
            engine.fork(_fork(event))
        case ev.PolicyChanged(policy=policy):
            engine.set_policy(policy)
        case ev.PluginDisabled():
            engine.disable_plugin(PluginFailedError(event.plugin, event.hook, event.why, event.message))
        case ev.Branched():
            _rewind(event, engine)
        case ev.Finished(request=request):
            engine.abort(request)
        case ev.Preempted(request=request):
            engine.preempt(request)
        case ev.Evicted(blocks=blocks):
            engine.evict(blocks[-1])
        case _:
            raise AssertionError(f"{ev.type_of(event)} is no input")


def _fork(event: ev.Forked) -> ForkSpec:
    changed = event.changed
    return ForkSpec(
        event.parent,
        event.at_position,
        event.appended[0] if "token" in changed else None,
        event.appended if "prompt" in changed else None,
        event.params if "params" in changed else None,
        event.intervened.scales if "stages" in changed and event.intervened else (),
    )


def _rewind(event: ev.Branched, engine: Replayable) -> None:
    """Go back as the run did: when another engine went on from a recording, none of its KV was there."""
    exact = event.replayed_steps > 0
    if exact:
        engine.rewind(event.step, event.parent, exact=True)
        return
    cost = engine.cost_of_rewind(event.step, event.parent)
    engine.rewind(event.step, event.parent, afresh=cost.recomputed_tokens != event.recomputed_tokens)
