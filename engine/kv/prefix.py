"""What of a prompt is cached already, and why the match ends where it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from engine.ids import request_of
from engine.kv.radix import ROOT, Walk, chain_hashes
from engine.kv.seeds import seed_of
from engine.params import SamplingParams
from engine.reasons import (
    AdapterDiffers,
    BlockNotFull,
    CacheOff,
    Diverged,
    EvictedEarlier,
    LastTokenNeeded,
    MatchEnd,
    NeverComputed,
    SaltDiffers,
)
from engine.state import State
from engine.tokens import RequestSource, TokenSource

PLAIN = SamplingParams()
MOST_SIBLINGS = 256  # edges compared to find the closest one, for the explanation only


@dataclass(frozen=True, slots=True)
class Match:
    """The cached `blocks` that start a prompt, and why there are not more."""

    blocks: list[int]
    end: MatchEnd


def match(
    state: State, log: RequestSource, tokens: Sequence[int], hashes: Sequence[int],
    params: SamplingParams = PLAIN,
) -> Match:  # fmt: skip
    """The longest cached prefix of `tokens` in whole blocks, leaving at least the last token to compute.

    `hashes` are those of the tokens under `params`, whose adapter and salt keep prefixes apart.
    """
    walk = find(state, log, tokens, hashes[: (len(tokens) - 1) // state.blocks.block_size])
    end = _why(state, log, tokens, hashes, walk)
    if isinstance(end, Diverged | NeverComputed):
        end = _kept_apart(state, log, tokens, walk, params) or end
    return Match(walk.blocks, end)


def _kept_apart(
    state: State, log: RequestSource, tokens: Sequence[int], walk: Walk, params: SamplingParams
) -> AdapterDiffers | SaltDiffers | None:
    """Whose adapter or salt is the reason, if other requests have more of these very tokens in the cache."""
    size = state.blocks.block_size
    position = len(walk.blocks) * size
    best: tuple[tuple[int, bool], SamplingParams] | None = None
    for asked in _beginning_with(state, log, tokens[:size]):
        if seed_of(asked) == seed_of(params):
            continue
        theirs = find(state, log, tokens, chain_hashes(tokens[:-1], size, seed_of(asked)))
        more = len(theirs.blocks) * size - position
        found = more, asked.adapter == params.adapter  # of two that are as long, that of the same adapter
        if more > 0 and (best is None or found > best[0]):
            best = found, asked
    if best is None:
        return None
    (more, _), asked = best
    if asked.adapter != params.adapter:
        return AdapterDiffers(position, more, asked.adapter)
    return SaltDiffers(position, more)


def _beginning_with(state: State, log: RequestSource, first: Sequence[int]) -> Iterator[SamplingParams]:
    """What the requests asked for that wrote the cached first blocks with these tokens."""
    for child in islice(state.tree.root.children.values(), MOST_SIBLINGS):
        block = state.tree.nodes[child].blocks[0]
        if list(tokens_in(state, log, block)) == list(first):
            yield log.asked(request_of(state.blocks.writer[block])).params


def find(state: State, log: TokenSource, tokens: Sequence[int], hashes: Sequence[int]) -> Walk:
    """How far `hashes` lead through blocks that hold `tokens`: no hash is taken at its word."""
    return _verified(state, log, tokens, state.tree.walk(hashes))


def _verified(state: State, log: TokenSource, tokens: Sequence[int], walk: Walk) -> Walk:
    """`walk` up to the first block that holds other tokens under the same hash."""
    size = state.blocks.block_size
    for index, block in enumerate(walk.blocks):
        if list(tokens_in(state, log, block)) != list(tokens[index * size : (index + 1) * size]):
            return _cut(state, walk.blocks[:index])
    return walk


def _cut(state: State, blocks: list[int]) -> Walk:
    """The walk that ends with the last of `blocks`."""
    if not blocks:
        return Walk([], ROOT, 0)
    node, offset = state.tree.place_of(blocks[-1])
    return Walk(blocks, node.id, offset)


def tokens_in(state: State, log: TokenSource, block: int) -> Sequence[int]:
    """The token ids whose KV is in `block`, at most `block_size`."""
    start = state.blocks.index[block] * state.blocks.block_size
    writer = request_of(state.blocks.writer[block])
    return log.tokens_of(writer)[start : start + state.blocks.fill[block]]


def no_cache() -> Match:
    return Match([], CacheOff())


def _why(state: State, log: TokenSource, tokens: Sequence[int], hashes: Sequence[int], walk: Walk) -> MatchEnd:
    size = state.blocks.block_size
    position = len(walk.blocks) * size
    if position + size > len(tokens):
        return BlockNotFull(position, len(tokens) - position, size)
    following = _following(state, walk)
    hash_ = hashes[len(walk.blocks)]
    if any(state.blocks.hash[block] == hash_ for block in following):
        return LastTokenNeeded(position)
    if ghost := state.tree.ghosts.get(hash_):
        return EvictedEarlier(position, ghost.step, ghost.for_request)
    return _diverged(state, log, tokens, position, following)


def _diverged(
    state: State, log: TokenSource, tokens: Sequence[int], position: int, following: Sequence[int]
) -> Diverged | NeverComputed:
    """Where the closest of the blocks that follow has another token; nothing at all at the root is no match."""
    wanted = tokens[position : position + state.blocks.block_size]
    if not following:
        return NeverComputed(position)
    common = {block: _common(tokens_in(state, log, block), wanted) for block in following}
    block = max(common, key=lambda candidate: common[candidate])
    at = common[block]
    if position + at == 0 or at == len(wanted):
        return NeverComputed(position)
    return Diverged(position + at, wanted[at], tokens_in(state, log, block)[at], block)


def _following(state: State, walk: Walk) -> list[int]:
    """The blocks that could have come next where `walk` ended."""
    node = state.tree.nodes[walk.node]
    if walk.offset < len(node.blocks):
        return [node.blocks[walk.offset]]
    return [state.tree.nodes[child].blocks[0] for child in islice(node.children.values(), MOST_SIBLINGS)]


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix."""
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return index
    return min(len(a), len(b))
