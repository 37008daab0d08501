"""What the recorder and the process that writes say to each other, over two pipes.

A frame is the length of a message (u64, little endian) and the message (msgpack).
"""

from __future__ import annotations

import os
import select
import struct
from typing import Final, Generic, TypeVar

import msgspec

from engine.capture import Captured
from sessions.scratch import Place

Message = TypeVar("Message", bound=msgspec.Struct)

_LENGTH: Final = struct.Struct("<Q")
_AT_ONCE: Final = 1 << 16  # bytes, as many as a pipe holds
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
    frame = bytearray(_LENGTH.size)
    _encoder.encode_into(message, frame, _LENGTH.size)
    _LENGTH.pack_into(frame, 0, len(frame) - _LENGTH.size)
    written = os.write(pipe, frame)
    while written < len(frame):
        written += os.write(pipe, memoryview(frame)[written:])


class Frames(Generic[Message]):
    """The messages that come out of a pipe, which nobody else reads."""

    def __init__(self, pipe: int, kind: type[Message]) -> None:
        self._pipe = pipe
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._read = bytearray()  # and not taken yet

    def next(self) -> Message | None:
        """The next message; None where the pipe ends, even in the middle of a frame."""
        while len(self._read) < (end := self._end()):
            part = os.read(self._pipe, _AT_ONCE)
            if not part:
                return None
            self._read += part
        message = self._decoder.decode(self._read[_LENGTH.size : end])
        del self._read[:end]
        return message

    def wait(self, seconds: float) -> bool:
        """Whether there is something to read within that time."""
        return bool(self._read) or bool(select.select([self._pipe], [], [], seconds)[0])

    def _end(self) -> int:
        """Where the first frame ends, as far as is known."""
        known = len(self._read) >= _LENGTH.size
        return _LENGTH.size + (_LENGTH.unpack_from(self._read)[0] if known else 0)
