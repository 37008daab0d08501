"""How many blocks tokens take, and how many tokens a fork takes over."""

from __future__ import annotations

from engine.kv.holes import HOLE
from engine.kv.seeds import seed_of
from engine.request import Request


def blocks_for(tokens: int, block_size: int) -> int:
    """Blocks that hold `tokens` tokens."""
    return -(-tokens // block_size)


def inheritable(request: Request, parent: Request, block_size: int) -> int:
    """How many of a fork's tokens are in its parent's table as the fork would compute them; never its last.

    It starts on the holes that a KV policy left there too, and not in the middle of one.
    """
    if seed_of(request.params) != seed_of(parent.params):
        return 0
    most = min(parent.computed, request.num_tokens - 1 - request.held_back, request.forked_at)
    if request.pure_tokens is not None and request.pure_tokens != parent.pure_tokens:
        most = min(most, request.pure_tokens)
    index, used = divmod(most, block_size)
    return index * block_size if used and parent.table[index] == HOLE else most


def copies_for(tokens: int, samples: int, block_size: int) -> int:
    """Blocks that samples copy when they first write into the last block, partly filled by `tokens` tokens."""
    return (samples - 1) * (tokens % block_size > 0)
