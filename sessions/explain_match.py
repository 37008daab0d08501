"""How far a prompt would have matched in smaller blocks, of what the pool held at that moment.

The KV that a smaller block could have shared lies in two places: in the cached block that follows the match, as
far as its tokens agree, and in the tables of requests that run, whose newest block is not full yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from engine import events as ev
from engine.kv.prefix import MOST_SIBLINGS, tokens_in
from engine.kv.radix import ROOT, chain_hash
from engine.kv.seeds import seed_of
from engine.state import State
from engine.tokens import TokenSource
from sessions.explain_facts import Smaller


def in_smaller_blocks(
    state: State, tokens: TokenSource, matched: ev.PrefixMatched, unshared: Collection[str]
) -> tuple[Smaller, ...]:
    """What halves of the block size, quarters and so on would have added to a match that `state` is about to see.

    Each entry adds to the one before. KV of `unshared` requests is nobody else's. Where more than
    `MOST_SIBLINGS` blocks follow the match only those are compared, so that it may be more, never less.
    """
    request = state.requests[matched.request]
    own, seed = request.pure_tokens, seed_of(request.params)
    wanted = tokens.tokens_of(matched.request)[: matched.looked_up]
    following, cut = _following(state, matched.blocks)
    if not matched.blocks:
        following = [block for block in following if _begins_from(seed, state, tokens, block)]
    there = max(_lengths(state, tokens, matched, wanted, following, unshared), default=0)
    most = len(wanted) - 1 if own is None else min(own, len(wanted) - 1)
    return tuple(_gains(matched.tokens, min(there, most), state.blocks.block_size, cut))


def not_yet_by(state: State, tokens: TokenSource, matched: ev.PrefixMatched) -> str | None:
    """Who has the tokens of the block after the match, and has not computed them all."""
    stop = matched.tokens + state.blocks.block_size
    wanted = tokens.tokens_of(matched.request)[: min(stop, matched.looked_up)]
    seed = seed_of(state.requests[matched.request].params)
    for request in state.running.values():
        if seed_of(request.params) != seed:
            continue
        known = tokens.tokens_of(request.id)[: request.num_tokens]
        if request.computed < stop and len(wanted) == stop == common(known, wanted):
            return request.id
    return None


def _gains(matched: int, there: int, block_size: int, cut: bool) -> Iterator[Smaller]:
    best = matched
    while block_size > 1:
        block_size //= 2
        found = there // block_size * block_size
        if found > best:
            best = found
            yield Smaller(block_size, found, cut)


def _lengths(
    state: State, tokens: TokenSource, matched: ev.PrefixMatched, wanted: Sequence[int],
    following: Sequence[int], unshared: Collection[str],
) -> Iterator[int]:  # fmt: skip
    """Lengths of prefixes of `wanted` whose KV is in the pool, the longest among them."""
    for block in following:
        yield matched.tokens + common(tokens_in(state, tokens, block), wanted[matched.tokens :])
    seed = seed_of(state.requests[matched.request].params)
    for request in state.running.values():
        alike = request.id not in unshared and seed_of(request.params) == seed
        if alike and request.id != matched.request:
            pure = request.computed if request.pure_tokens is None else request.pure_tokens
            yield common(tokens.tokens_of(request.id)[: min(request.computed, pure)], wanted)


def _begins_from(seed: int, state: State, tokens: TokenSource, block: int) -> bool:
    """Whether a cached first block is one of requests with this adapter and salt: its hash begins there."""
    return chain_hash(seed, tokens_in(state, tokens, block)) == state.blocks.hash[block]


def _following(state: State, blocks: Sequence[int]) -> tuple[list[int], bool]:
    """The cached blocks that come next after the matched `blocks`, and whether there are more than are listed."""
    node, offset = state.tree.place_of(blocks[-1]) if blocks else (state.tree.nodes[ROOT], 0)
    if offset < len(node.blocks):
        return [node.blocks[offset]], False
    children = islice(node.children.values(), MOST_SIBLINGS)
    return [state.tree.nodes[child].blocks[0] for child in children], len(node.children) > MOST_SIBLINGS


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix, found by halves: slices compare at the speed of C."""
    low, high = 0, min(len(a), len(b))
    if high and a[0] != b[0]:
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low
