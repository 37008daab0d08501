"""What keeps equal tokens apart in the prefix cache: another adapter has other KV, and a salt is asked for."""

from __future__ import annotations

from functools import lru_cache

import xxhash

from engine.kv.radix import HASH_BITS
from engine.params import SamplingParams


def seed_of(params: SamplingParams) -> int:
    """Where the chained hashes of a request's blocks start: 0 without adapter and salt."""
    return _seed(params.adapter, params.salt) if params.adapter or params.salt else 0


@lru_cache(maxsize=1 << 10)
def _seed(adapter: str, salt: str) -> int:
    data = adapter.encode() + b"\0" + salt.encode()  # the name of an adapter has no NUL
    return (xxhash.xxh3_64_intdigest(data) & ((1 << HASH_BITS) - 1)) or 1
