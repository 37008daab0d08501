"""Copies of the bookkeeping: equal, independent and cheap; trees are built where somebody looks."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine import keyframe
from engine.kv.nodes import ROOT
from engine.params import RequestSpec
from engine.state import State
from tests.scripted import scripted_engine, spec

UNCHANGEABLE = (int, str, float, type(None), tuple, Enum, msgspec.Struct)
prompts = st.lists(st.integers(0, 2), min_size=1, max_size=24)


class Heard:
    """A sink that keeps the events."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []

    def record(self, events: Sequence[ev.Event]) -> None:
        self.events.extend(events)

    def commit(self, events: Sequence[ev.Event], details: object) -> None:
        self.events.extend(events)

    def capture(self, tensors: object) -> None:
        raise AssertionError(tensors)

    def close(self) -> None: ...


def run_of(requests: Sequence[RequestSpec]) -> list[ev.Event]:
    """What an engine with little room says while it serves `requests`, three at a time."""
    heard = Heard()
    engine = scripted_engine(12, heard, block_size=2, token_budget=8, max_running=3)
    for start in range(0, len(requests), 3):
        for request in requests[start : start + 3]:
            engine.submit(request)
        engine.run(5)
    engine.run()
    return heard.events


def start() -> State:
    return State(12, 2)


workloads = st.lists(
    st.builds(spec, prompts, st.integers(1, 6), st.integers(1, 2), st.integers(0, 1)), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(requests=workloads, data=st.data())
def test_a_copy_goes_its_own_way(requests: list[RequestSpec], data: st.DataObject) -> None:
    events = run_of(requests)
    at = data.draw(st.integers(0, len(events)))
    state = start()
    state.apply_all(events[:at])
    if data.draw(st.booleans()):
        state = keyframe.unpack(keyframe.pack(state))
    before = keyframe.pack(state)
    first, second = state.copy(), state.copy()
    first.apply_all(events[at:])
    third = first.copy()
    assert keyframe.pack(state) == keyframe.pack(second) == before
    second.apply_all(events[at:])
    state.apply_all(events[at:])
    whole = start()
    whole.apply_all(events)
    for each in (first, second, third, state):
        each.check_invariants()
        assert keyframe.pack(each) == keyframe.pack(whole)
        assert list(each.evictable) == list(whole.evictable)


def test_a_copy_shares_nothing_that_changes() -> None:
    """Fails for a new part of the state that `copy` does not know."""
    state = start()
    state.apply_all(run_of([spec(range(9), 4), spec(range(5), 6, 2)])[:20])
    assert state.requests
    pairs = [(state, state.copy())]
    pairs += [(one.blocks, two.blocks) for one, two in pairs] + [(one.tree, two.tree) for one, two in pairs]
    pairs += [(one.requests[id_], two.requests[id_]) for one, two in pairs[:1] for id_ in one.requests]  # type: ignore[attr-defined]
    for one, two in pairs:
        names = vars(one) if hasattr(one, "__dict__") else type(one).__slots__
        for name in names:
            value = getattr(one, name)
            same = value is getattr(two, name)
            assert not same or isinstance(value, UNCHANGEABLE), f"{type(one).__name__}.{name} is shared"


def test_a_stored_tree_is_built_where_somebody_looks() -> None:
    state = start()
    for number in range(6):
        _cache(state, number, 100 + number)
    unpacked = keyframe.unpack(keyframe.pack(state))
    assert len(unpacked.tree.nodes) == 7
    assert unpacked.tree.nodes._built == {}
    assert unpacked.tree.walk([103]).blocks == [3]
    assert set(unpacked.tree.nodes._built) == {ROOT, 4}
    assert unpacked.tree.nodes[ROOT].children[103] == 4


def _cache(state: State, block: int, hash_: int) -> None:
    """Put a block that nobody holds into the tree, below the root."""
    state.blocks.take([block], 0, 1, 0)
    state.blocks.fill[block] = 2
    state.blocks.hash[block] = hash_
    state.tree.append(state.tree.next_id, ROOT, True, [block], 0)
    state.blocks.release([block], 0)
