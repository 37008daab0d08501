"""The uniform numbers that sampling uses: a pure function of who asks, not of what ran before.

A draw depends on (seed, sample index, position, purpose) and on nothing else, so a request gets the same
draws whatever shares its batch, however its prompt was chunked and however often it was preempted. There
is no generator state to save, to restore when going back in time, or to get wrong.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Literal

__all__ = ["Purpose", "request_seed", "uniform"]

Purpose = Literal["sample", "accept", "residual", "draft"]

_PURPOSE_CODES: dict[Purpose, int] = {"sample": 0, "accept": 1, "residual": 2, "draft": 3}
_KEY = struct.Struct("<QQQB")
_UINT64 = (1 << 64) - 1


def uniform(seed: int, sample_index: int, position: int, purpose: Purpose, turn: int = 0) -> float:
    """A number in [0, 1) with 53 random bits, every value a multiple of 2**-53.

    It is the top 53 bits of BLAKE2b (RFC 7693), personalised for this use, over the little-endian key
    `seed: u64, sample index: u64, position: u64, purpose: u8`. Seeds count modulo 2**64.

    `turn` counts the drafts that are tried for one position, from 0: it is the key's upper 6 bits of the purpose.

    Purposes: *sample* chooses a token, *draft* guesses one, *accept* decides on a guess, *residual* chooses its
    replacement (Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding").
    """
    key = _KEY.pack(seed & _UINT64, sample_index, position, _PURPOSE_CODES[purpose] | turn << 2)
    digest = blake2b(key, digest_size=8, person=b"workbench draw").digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def request_seed(engine_seed: int, request_id: str) -> int:
    """The seed of a request that brought none: 63 bits, so that it fits a signed SQLite integer."""
    key = struct.pack("<Q", engine_seed & _UINT64) + request_id.encode()
    digest = blake2b(key, digest_size=8, person=b"workbench seed").digest()
    return int.from_bytes(digest, "little") >> 1
