"""What the recorder and the process that writes say to each other, over two pipes.

A frame is the length of a message (u64, little endian) and the message (msgpack).
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, Final, TypeVar

import msgspec

from engine.capture import Captured
from sessions.scratch import Place

Message = TypeVar("Message", bound=msgspec.Struct)

_LENGTH: Final = struct.Struct("<Q")
_encoder: Final = msgspec.msgpack.Encoder()


class Said(msgspec.Struct, frozen=True, array_like=True):
    """Something to record: `events` as lines of JSON, where the logits of their tokens lie, tensors to keep."""

    events: bytes = b""
    logits: Place | None = None
    tensors: tuple[Captured, ...] = ()
    ends_step: bool = False
    flush: bool = False


class Report(msgspec.Struct, frozen=True, array_like=True):
    """How far the writer is: steps written, flushes answered, and what keeps it from writing."""

    steps: int
    flushes: int
    error: str | None


def send(pipe: int, message: Said | Report) -> None:
    """Write one frame. Raises OSError when the other side is gone."""
    data = _encoder.encode(message)
    left = memoryview(_LENGTH.pack(len(data)) + data)
    while left:
        left = left[os.write(pipe, left) :]


def receive(pipe: BinaryIO, kind: type[Message]) -> Message | None:
    """The next message of an unbuffered pipe; None where it ends, even in the middle of a frame."""
    length = _read(pipe, _LENGTH.size)
    data = None if length is None else _read(pipe, *_LENGTH.unpack(length))
    return None if data is None else msgspec.msgpack.decode(data, type=kind)


def _read(pipe: BinaryIO, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = pipe.read(size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)
