"""Blocks, radix tree and eviction order against slow models of what they should be."""

from __future__ import annotations

import heapq

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kv.eviction import in_order
from engine.kv.prefix import match
from engine.kv.radix import chain_hash, chain_hashes
from engine.overlay import Overlay, Room, Short
from engine.reasons import BlockNotFull, Diverged, EvictedEarlier, LastTokenNeeded, NeverComputed
from engine.state import State
from tests.scripted import scripted_engine, spec


@given(st.lists(st.integers()), st.integers(0, 50))
def test_a_heap_is_read_in_order_without_changing_it(values: list[int], most: int) -> None:
    heap = list(values)
    heapq.heapify(heap)
    before = list(heap)
    iterator = in_order(heap)
    assert [value for _, value in zip(range(most), iterator, strict=False)] == sorted(values)[:most]
    assert heap == before


@given(st.lists(st.integers(0, 9), max_size=40), st.lists(st.integers(0, 9), max_size=40), st.integers(1, 5))
def test_hashes_agree_exactly_as_far_as_the_tokens_do(a: list[int], b: list[int], size: int) -> None:
    """The chained hash of a block is that of everything up to its end."""
    for index, (left, right) in enumerate(zip(chain_hashes(a, size), chain_hashes(b, size), strict=False)):
        assert (left == right) == (a[: (index + 1) * size] == b[: (index + 1) * size])
    assert len(chain_hashes(a, size)) == len(a) // size


def test_a_hash_fits_every_json_reader_and_is_never_zero() -> None:
    assert all(0 < chain_hash(0, [token]) < 1 << 53 for token in range(1000))


def cached_state(prompts: list[list[int]], num_blocks: int, size: int = 2) -> State:
    """A state whose tree caches `prompts`, computed one after the other, all finished."""
    engine = scripted_engine(num_blocks, block_size=size, token_budget=1000)
    for prompt in prompts:
        engine.submit(spec(prompt, max_tokens=1))
        engine.run()
    return engine.state


prompts_ = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(prompts_, st.lists(st.integers(0, 2), min_size=1, max_size=14))
def test_the_tree_caches_what_was_computed_and_nothing_else(prompts: list[list[int]], wanted: list[int]) -> None:
    """With room for everything, a match is the longest common prefix with any prompt, in whole blocks."""
    engine = scripted_engine(200, block_size=2, token_budget=1000)
    for prompt in prompts:
        engine.submit(spec(prompt, max_tokens=1))
        engine.run()
    found = match(engine.state, engine.tokens, wanted, chain_hashes(wanted, 2))
    longest = max(_common_blocks(prompt, wanted) for prompt in prompts)
    assert len(found.blocks) == min(longest, (len(wanted) - 1) // 2)


def _common_blocks(a: list[int], b: list[int]) -> int:
    blocks = 0
    while a[: 2 * blocks + 2] == b[: 2 * blocks + 2] and 2 * blocks + 2 <= min(len(a), len(b)):
        blocks += 1
    return blocks


def brute_force_victims(state: State, count: int) -> list[int]:
    """Evict one block at a time: the least recently used of all childless tails, oldest node first."""
    blocks = {node.id: list(node.blocks) for node in state.tree.nodes.values()}
    children = {node.id: set(node.children.values()) for node in state.tree.nodes.values()}
    victims: list[int] = []
    while len(victims) < count:
        tails = [
            (state.blocks.last_use[listed[-1]], node)
            for node, listed in blocks.items()
            if node and listed and not children[node] and not state.blocks.ref_count[listed[-1]]
        ]
        if not tails:
            break
        _, node = min(tails)
        victims.append(blocks[node].pop())
        if not blocks[node]:
            children[state.tree.nodes[node].parent].discard(node)
    return victims


@settings(max_examples=150, deadline=None)
@given(prompts_, st.integers(1, 40), st.integers(8, 30))
def test_victims_are_the_least_recently_used_leaves(prompts: list[list[int]], need: int, num_blocks: int) -> None:
    state = cached_state(prompts, num_blocks)
    found = Overlay(state).find(need)
    victims = brute_force_victims(state, max(0, need - len(state.blocks.free)))
    if len(victims) + len(state.blocks.free) < need:
        assert found == Short(len(state.blocks.free), len(victims))
    else:
        assert isinstance(found, Room)
        assert [victim.block for victim in found.victims] == victims
        assert found.blocks == (*state.blocks.free, *victims)[:need]


@settings(max_examples=100, deadline=None)
@given(prompts_, st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(8, 24))
def test_an_overlay_takes_in_turn_what_it_would_take_at_once(
    prompts: list[list[int]], needs: list[int], num_blocks: int
) -> None:
    state = cached_state(prompts, num_blocks)
    overlay = Overlay(state)
    taken: list[int] = []
    for need in needs:
        found = overlay.find(need)
        if isinstance(found, Short):
            assert found.free + found.evictable < need
            break
        overlay.take(found, "9")
        taken.extend(found.blocks)
    whole = Overlay(state).find(len(taken))
    assert isinstance(whole, Room)
    assert sorted(whole.blocks) == sorted(taken)


# -- why a match ends ------------------------------------------------------------------------------------


def why(prompts: list[list[int]], wanted: list[int], num_blocks: int = 64) -> object:
    engine = scripted_engine(num_blocks, block_size=4, token_budget=1000)
    for prompt in prompts:
        engine.submit(spec(prompt, max_tokens=1))
        engine.run()
    return match(engine.state, engine.tokens, wanted, chain_hashes(wanted, 4)).end


HELD = [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_match_ends_where_the_prompt_diverges() -> None:
    end = why([HELD], [1, 2, 3, 4, 5, 6, 9, 9, 9])
    assert isinstance(end, Diverged)
    assert (end.position, end.wanted, end.cached) == (6, 9, 7)


def test_a_match_ends_at_a_block_that_is_not_full() -> None:
    assert why([HELD], [1, 2, 3, 4, 5, 6]) == BlockNotFull(4, 2, 4)


def test_a_match_ends_where_nothing_was_ever_computed() -> None:
    assert why([HELD], [*HELD, 1, 1, 1, 1, 1]) == NeverComputed(8)
    assert why([], HELD) == NeverComputed(0)
    assert why([HELD], [9] * 9) == NeverComputed(0)


def test_a_match_ends_before_the_last_token() -> None:
    assert why([HELD], HELD) == LastTokenNeeded(4)


def test_a_match_ends_at_an_evicted_block() -> None:
    end = why([HELD, [9] * 12], [*HELD, 3], num_blocks=4)
    assert end == EvictedEarlier(4, 2, "2")
