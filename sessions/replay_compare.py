"""Two runs of one record side by side: events as they were said, and logits by hash or within a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import msgspec

from engine import events as ev
from engine.details import TokenDetails
from engine.execution import DetailsOf

TIMES = ("started_ns", "plan_ns", "forward_ns", "sample_ns", "commit_ns")


class Difference(msgspec.Struct, frozen=True):
    """The first thing that differs: `field` of an event or a row of logits, as recorded and as it is now.

    `max_abs` is the largest distance of the recorded candidates' raw logits, None where there are none.
    """

    step: int
    request: str | None
    position: int | None
    field: str
    expected: str
    actual: str
    max_abs: float | None = None
    near_tie: bool = False


@dataclass(slots=True)
class Comparison:
    """How logits are compared: bit by bit, or within `tolerance` of raw logits; and what was found."""

    tolerance: float | None = None
    first: Difference | None = None
    largest: float = 0.0  # distance that was within the tolerance

    def compare_logits(self, step: int, recorded: Sequence[TokenDetails], again: DetailsOf) -> Difference | None:
        """The first token of a step whose logits differ by more than they may."""
        logits = again.logits
        for row, (before, now) in enumerate(zip(recorded, again(), strict=False)):
            if before.logits_hash == now.logits_hash:
                continue
            distance = None if logits is None else _distance(before, logits[row])
            if self.tolerance is not None and distance is not None and distance <= self.tolerance:
                self.largest = max(self.largest, distance)
                continue
            expected, actual = f"hash {before.logits_hash:016x}", f"hash {now.logits_hash:016x}"
            return Difference(
                step, now.request, now.position, "logits", expected, actual, distance, before.near_tie
            )
        return None


def compare_events(
    expected: Sequence[ev.Event], actual: Sequence[ev.Event], logits: Difference | None = None
) -> Difference | None:
    """The first event that differs, times apart. `logits` tells how far apart the logits of a step are."""
    for before, now in zip_longest(expected, actual):
        if before is None or now is None or _timeless(before) != _timeless(now):
            return _difference(before, now, logits, (before or now).step)
    return None


def is_end(event: ev.Event) -> bool:
    """Whether `event` closes a step."""
    return isinstance(event, ev.StepCommitted | ev.StepFailed)


def _timeless(event: ev.Event) -> ev.Event:
    if isinstance(event, ev.StepCommitted):
        return msgspec.structs.replace(event, **dict.fromkeys(TIMES, 0))
    return event


def _difference(
    before: ev.Event | None, now: ev.Event | None, logits: Difference | None, step: int
) -> Difference:
    request = next((ev.request_in(event) for event in (before, now) if event is not None), None)
    position = before.position if isinstance(before, ev.Token) else None
    max_abs, near_tie = (logits.max_abs, logits.near_tie) if logits else (None, False)
    if before is None or now is None or type(before) is not type(now):
        return Difference(step, request, position, "event", _type(before), _type(now), max_abs, near_tie)
    name = next(n for n in before.__struct_fields__ if n not in TIMES and getattr(before, n) != getattr(now, n))
    field = name if isinstance(before, ev.Token) else f"{ev.type_of(before)}.{name}"
    expected, actual = (_shown(getattr(event, name)) for event in (before, now))
    return Difference(step, request, position, field, expected, actual, max_abs, near_tie)


def _type(event: ev.Event | None) -> str:
    return "nothing" if event is None else ev.type_of(event)


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _distance(before: TokenDetails, logits: object) -> float:
    """The largest distance between the recorded candidates' raw logits and those of `logits` [vocab]."""
    row: Sequence[float] = logits  # type: ignore[assignment]
    pairs = zip(before.candidates.ids, before.candidates.raw, strict=True)
    return max((abs(float(row[id_]) - raw) for id_, raw in pairs), default=0.0)
