"""Two runs of one record side by side: events as they were said, and logits by hash or within a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import msgspec

from engine import events as ev
from engine.details import TokenDetails
from engine.execution import DetailsOf
from sessions.replay_difference import Difference, Kind
from sessions.replay_rows import StepRows
from sessions.request_rows import signed

TIMES = ("started_ns", "plan_ns", "forward_ns", "sample_ns", "commit_ns")


PLANS = (
    ev.Waiting, ev.PrefixMatched, ev.Inherited, ev.Evicted, ev.Allocated, ev.Copied, ev.Admitted, ev.Preempted,
    ev.Scheduled,
)  # fmt: skip


@dataclass(slots=True)
class Comparison:
    """How logits are compared: bit by bit, or within `tolerance` of raw logits; and what was found."""

    tolerance: float | None = None
    first: Difference | None = None
    largest: float = 0.0  # distance that was within the tolerance
    compared: int = 0  # rows of logits
    unrecorded: int = 0  # rows of logits of which the record holds no hash

    def compare_logits(self, step: int, rows: StepRows, again: DetailsOf) -> Difference | None:
        """The first token of a step whose logits differ by more than they may."""
        logits = again.logits
        for index, now in enumerate(again()):
            place = now.request, now.position
            hashes = rows.hashes(place)
            self.compared += bool(hashes)
            self.unrecorded += not hashes
            differing = next((hash_ for hash_ in hashes if hash_ != signed(now.logits_hash)), None)
            if differing is None:
                continue
            before = rows.details.get(place)
            distance = None if logits is None or before is None else _distance(before, logits[index])
            if self.tolerance is not None and distance is not None and distance <= self.tolerance:
                self.largest = max(self.largest, distance)
                continue
            near_tie = before is not None and before.near_tie
            return Difference(
                step,
                *place,
                "logits",
                _hash(differing),
                _hash(signed(now.logits_hash)),
                distance,
                near_tie,
                "logits",
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


def refused(event: ev.Event, error: Exception) -> Difference:
    """The input that caused `event` cannot be given: `error` says why."""
    request, name = ev.request_in(event), ev.type_of(event)
    said = " ".join(str(error.args[0] if error.args else error).split())
    return Difference(event.step, request, None, name, name, f"refused: {said}", kind="input")


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
        kind = _kind(before or now)
        return Difference(step, request, position, "event", _type(before), _type(now), max_abs, near_tie, kind)
    name = next(n for n in before.__struct_fields__ if n not in TIMES and getattr(before, n) != getattr(now, n))
    field = name if isinstance(before, ev.Token) else f"{ev.type_of(before)}.{name}"
    expected, actual = (_shown(getattr(event, name)) for event in (before, now))
    kind = "draw" if field == "draw" else _kind(before)
    return Difference(step, request, position, field, expected, actual, max_abs, near_tie, kind)


def _kind(event: ev.Event | None) -> Kind:
    match event:
        case ev.Token():
            return "token"
        case ev.Submitted() | ev.Forked() | ev.PolicyChanged() | ev.Branched():
            return "input"
    return "plan" if isinstance(event, PLANS) else "result"


def _type(event: ev.Event | None) -> str:
    if isinstance(event, ev.StepFailed):
        return f"step_failed ({event.error})"
    return "nothing" if event is None else ev.type_of(event)


def _hash(signed_: int) -> str:
    return f"hash {signed_ % (1 << 64):016x}"


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _distance(before: TokenDetails, logits: object) -> float:
    """The largest distance between the recorded candidates' raw logits and those of `logits` [vocab]."""
    row: Sequence[float] = logits  # type: ignore[assignment]
    pairs = zip(before.candidates.ids, before.candidates.raw, strict=True)
    return max((abs(float(row[id_]) - raw) for id_, raw in pairs), default=0.0)
