"""What ui.perfetto.dev expects of a JSON trace, as assertions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

TraceEvent = dict[str, Any]


def check_trace(events: list[TraceEvent]) -> None:
    """Slices nest, async events pair up, flows start before they end and touch slices, counters are numbers."""
    assert all(event["ts"] >= 0 for event in events if event["ph"] != "M")
    check_nesting(events)
    check_async(events)
    check_flows(events)
    check_counters(events)


def check_nesting(events: Iterable[TraceEvent]) -> None:
    """On every thread each slice lies inside the one that was open when it began: others are dropped."""
    tracks: defaultdict[tuple[int, int], list[TraceEvent]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append(event)
    for track in tracks.values():
        assert [slice_["ts"] for slice_ in track] == sorted(slice_["ts"] for slice_ in track)
        open_ends: list[int] = []
        for slice_ in track:
            begin, end = _ns(slice_["ts"]), _ns(slice_["ts"]) + _ns(slice_["dur"])
            while open_ends and open_ends[-1] <= begin:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1], f"{slice_} overlaps"
            open_ends.append(end)


def check_async(events: Iterable[TraceEvent]) -> None:
    """Per category and id, ends close the latest begin of the same name, in order of time."""
    stacks: defaultdict[tuple[str, str], list[TraceEvent]] = defaultdict(list)
    latest: dict[tuple[str, str], float] = {}
    for event in events:
        if event["ph"] not in "be":
            continue
        key = event["cat"], event["id"]
        assert event["ts"] >= latest.get(key, 0)
        latest[key] = event["ts"]
        if event["ph"] == "b":
            stacks[key].append(event)
        else:
            assert stacks[key].pop()["name"] == event["name"]
    assert not any(stacks.values())


def check_flows(events: list[TraceEvent]) -> None:
    """Every flow has one start and one later end, each at a moment when a slice of its thread is open."""
    ends: defaultdict[str, list[TraceEvent]] = defaultdict(list)
    for event in events:
        if event["ph"] in "sf":
            ends[event["id"]].append(event)
            assert any(_covers(slice_, event) for slice_ in events if slice_["ph"] == "X"), event
    for pair in ends.values():
        assert [event["ph"] for event in pair] == ["s", "f"]
        assert pair[0]["ts"] < pair[1]["ts"]
        assert pair[1]["bp"] == "e"


def check_counters(events: Iterable[TraceEvent]) -> None:
    """Counters have numbers only, and go forward in time."""
    latest: dict[str, float] = {}
    for event in events:
        if event["ph"] == "C":
            assert event["ts"] >= latest.get(event["name"], 0)
            latest[event["name"]] = event["ts"]
            assert all(isinstance(value, int | float) for value in event["args"].values())


def _covers(slice_: TraceEvent, event: TraceEvent) -> bool:
    same_thread = (slice_["pid"], slice_["tid"]) == (event["pid"], event["tid"])
    return same_thread and slice_["ts"] <= event["ts"] <= slice_["ts"] + slice_["dur"]


def _ns(microseconds: float) -> int:
    return round(microseconds * 1000)
