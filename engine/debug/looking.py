"""What `info` tells of a state, live or recorded, in lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from engine.debug.commands import InfoTopic
from engine.debug.points import info_lines
from engine.debug.said import PointInfo
from engine.ids import request_of
from engine.kv.holes import HOLE
from engine.kv.radix import ROOT
from engine.params import EngineOptions
from engine.sanitise import display_text
from engine.state import Request, State
from engine.tokens import TokenSource
from engine.wording import plural, why

MOST_LINES = 200

TextOf = Callable[[int], str]


def info(
    topic: InfoTopic, state: State, tokens: TokenSource, text_of: TextOf, points: Iterable[PointInfo],
    options: EngineOptions,
) -> tuple[str, ...]:  # fmt: skip
    """The lines of `info topic`, at most 200; where there are more, the last line says so."""
    match topic:
        case "breakpoints":
            lines = info_lines(points)
        case "requests":
            lines = _requests(state, text_of)
        case "queues":
            lines = _queues(state, text_of)
        case "blocks":
            lines = _blocks(state)
        case "radix":
            lines = _radix(state, tokens, text_of)
        case "plugins":
            lines = [*getattr(options, "plugins", ())] or ["no plugin is switched on"]
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"… and {len(lines) - MOST_LINES} more"]
    return tuple(lines)


def _requests(state: State, text_of: TextOf) -> list[str]:
    everyone = sorted(state.requests.values(), key=lambda request: request.arrival)
    return [_request(request, text_of) for request in everyone] or ["no request is live"]


def _request(request: Request, text_of: TextOf) -> str:
    parts = [
        f"{request.id:<6}{request.state:<10} {request.prompt_tokens} prompt + {request.output_tokens} output",
        f"{request.computed} computed, {request.cached_tokens} of them from the cache",
        plural(len(request.held_blocks), "block"),
    ]
    if request.parent is not None:
        parts.append(f"a fork of {request.parent} at {request.forked_at}")
    if request.preemptions:
        parts.append(f"preempted {plural(request.preemptions, 'time')}")
    if request.wait is not None:
        parts.append(f"waits: {why(request.wait, _shown(text_of))}")
    return ", ".join(parts)


def _queues(state: State, text_of: TextOf) -> list[str]:
    waiting = [state.requests[id_] for _, id_ in state.waiting]
    running = sorted(state.running.values(), key=lambda request: request.rank)
    lines = [f"running  {', '.join(request.id for request in running) or 'nobody'}"]
    lines.append(f"waiting  {', '.join(request.id for request in waiting) or 'nobody'}, by {state.policy}")
    lines += [
        f"  {request.id:<6}{request.state:<10} {why(request.wait, _shown(text_of))}"
        for request in waiting
        if request.wait is not None
    ]
    return lines


def _blocks(state: State) -> list[str]:
    blocks = state.blocks
    shared = [block for block in range(blocks.num_blocks) if blocks.ref_count[block] > 1]
    lines = [
        f"{blocks.num_blocks} blocks of {plural(blocks.block_size, 'token')}: {blocks.owned} owned,"
        f" {blocks.cached} cached, {len(blocks.free)} free"
    ]
    lines += [
        f"  request {request.id}: {' '.join('·' if block == HOLE else str(block) for block in request.table)}"
        for request in sorted(state.requests.values(), key=lambda request: request.arrival)
        if request.table
    ]
    if shared:
        lines.append(f"  shared: {', '.join(f'{block} ({blocks.ref_count[block]})' for block in shared)}")
    return lines


def _radix(state: State, tokens: TokenSource, text_of: TextOf) -> list[str]:
    nodes = state.tree.nodes
    lines = [f"{plural(len(nodes) - 1, 'node')}, {plural(sum(len(n.blocks) for n in nodes.values()), 'block')}"]
    waiting = [(child, 1) for child in reversed(list(nodes[ROOT].children.values()))]
    while waiting and len(lines) <= MOST_LINES:
        id_, depth = waiting.pop()
        node = nodes[id_]
        refs = max((state.blocks.ref_count[block] for block in node.blocks), default=0)
        held = f"held by {refs}" if refs else "evictable"
        hits = sum(state.blocks.hits[block] for block in node.blocks)
        text = display_text("".join(map(text_of, _tokens_of(state, tokens, node.blocks[0]))))
        lines.append(
            f"{'  ' * depth}{id_}: {plural(len(node.blocks), 'block')}, {held}, {plural(hits, 'hit')}  {text}…"
        )
        waiting += [(child, depth + 1) for child in reversed(list(node.children.values()))]
    return lines


def _tokens_of(state: State, tokens: TokenSource, block: int) -> Sequence[int]:
    """The first few tokens that a cached block holds."""
    size = state.blocks.block_size
    start = state.blocks.index[block] * size
    return tokens.tokens_of(request_of(state.blocks.writer[block]))[start : start + min(size, 8)]


def _shown(text_of: TextOf) -> TextOf:
    return lambda token: display_text(text_of(token))
