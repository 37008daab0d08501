"""Zstandard with a limit: a file from elsewhere must not decide how much memory is taken."""

from __future__ import annotations

from typing import Final

import zstandard

LEVEL: Final = 1
MAX_BYTES: Final = 1 << 28


def compress(data: bytes) -> bytes:
    """`data` as one zstd frame that carries its size and a checksum."""
    return bytes(zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(data))


def decompress(data: bytes, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes that `compress` took. Raises ValueError when damaged or larger than `max_bytes`."""
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= max_bytes:
            raise ValueError(f"a compressed block says it holds {size} bytes; at most {max_bytes} are read")
        return bytes(zstandard.ZstdDecompressor().decompress(data))
    except zstandard.ZstdError as error:
        raise ValueError(f"a compressed block is damaged: {error}") from error
