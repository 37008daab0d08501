"""Events that are decisions, with the code of their reason and the numbers that decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from engine import events as ev
from sessions.rows import Row

CODES: Final[Mapping[type[ev.Event], Callable[[Any], str | None]]] = {
    ev.Waiting: lambda event: code_of(event.reason),
    ev.PrefixMatched: lambda event: code_of(event.end),
    ev.Forked: lambda event: "+".join(event.changed) or "same",
    ev.PolicyChanged: lambda event: str(event.policy),
    ev.Branched: lambda _event: "rewind",
    ev.PluginDisabled: lambda event: str(event.why),
    ev.Evicted: lambda event: str(event.policy),
    ev.Admitted: lambda event: "resumed" if event.resumed else "new",
    ev.Preempted: lambda event: code_of(event.reason),
    ev.Drafted: lambda event: None if event.cut is None else code_of(event.cut),
    ev.KeptPrivate: lambda _event: "twin",
    ev.Dropped: lambda event: code_of(event.reason),
    ev.BeamsChosen: lambda _event: "beams",
    ev.BeamsEnded: lambda event: str(event.why),
    ev.Finished: lambda event: str(event.detail),
    ev.StepFailed: lambda _event: "failed",
}
"""The events that decide something, and where their code is; None where this one decided nothing."""

_ELSEWHERE: Final = ("type", "branch", "step", "request")


def code_of(reason: msgspec.Struct) -> str:
    """The code of a reason, such as `no_free_blocks`."""
    return str(reason.__struct_config__.tag)


def code_in(event: ev.Event) -> str | None:
    """The code of what `event` decides; None when it decides nothing."""
    find = CODES.get(type(event))
    return None if find is None else find(event)


def decision_row(seq: int, event: ev.Event) -> Row | None:
    """The row of `decisions` for `event`; None when it decides nothing."""
    code = code_in(event)
    if code is None:
        return None
    numbers = msgspec.json.encode(numbers_of(event)).decode()
    return (seq, event.branch, event.step, ev.request_in(event), ev.type_of(event), code, numbers)


def numbers_of(event: ev.Event) -> dict[str, object]:
    """The fields of a decision, those of its reason among them."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    reason = fields.pop("end", fields.get("reason"))
    if isinstance(reason, dict):
        fields.pop("reason", None)
        fields |= {name: value for name, value in reason.items() if name != "code"}
    return {name: value for name, value in fields.items() if name not in _ELSEWHERE}
