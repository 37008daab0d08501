"""The recorder's own process: takes frames of events, writes the session file, says when a step is in it.

The engine and the writer must not share an interpreter lock: measured on the bundled model at batch 8, a
writer thread cost a third of the tokens per second.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from engine import events as ev
from sessions.header import Header
from sessions.request_rows import Vocabulary
from sessions.scratch import Logits, Scratch
from sessions.writer import Writer

FLUSH_AFTER_S: Final = 0.02
"""How long rows of an unfinished step (a slow forward pass, a pause) wait before they are written."""

FRAME: Final = struct.Struct("<cIIIIQ")
"""Kind, bytes of payload; for a step's results also slot, rows, vocab and slot bytes of its logits."""
SETUP: Final = b"o"
SAID: Final = b"s"
COMMIT: Final = b"c"
FLUSH: Final = b"f"
CLOSE: Final = b"x"

ANSWER: Final = struct.Struct("<I")
"""Bytes of the line that follows and says what went wrong; 0: all is written."""


class Setup(msgspec.Struct, frozen=True):
    """What a writer needs to know before the first event."""

    path: str
    header: Header
    tokenizer_json: bytes | None
    keyframe_every: int


class NoVocabulary:
    """Stands in where the model has no tokenizer.json: tokens are shown as their ids."""

    def token_text(self, token: int) -> str:
        return f"<{token}>"

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(self.token_text, ids))


def serve(frames: BinaryIO, answers: BinaryIO, scratch: Scratch) -> None:
    """Write until told to close, or until the other side is gone: then the session is closed all the same."""
    writer: Writer | None = None
    while (frame := _next(frames, writer)) is not None:
        kind, payload, logits = frame[0], frame[1], _logits(frame[2], scratch)
        if kind == SETUP:
            setup = msgspec.msgpack.decode(payload, type=Setup)
            writer = Writer(
                Path(setup.path), setup.header, vocabulary(setup.tokenizer_json), setup.keyframe_every
            )
            continue
        assert writer is not None
        if payload:
            writer.take([ev.decode(line) for line in payload.split(b"\n")], logits)
        if kind == CLOSE:
            break
        if kind != SAID:
            _answer(answers, writer.write())
    if writer is not None:
        _answer(answers, writer.close())


def vocabulary(tokenizer_json: bytes | None) -> Vocabulary:
    """Token texts from a model's tokenizer.json."""
    if tokenizer_json is None:
        return NoVocabulary()
    import tokenizers

    from engine.text import Tokenizer

    return Tokenizer(tokenizers.Tokenizer.from_buffer(tokenizer_json))


Frame = tuple[bytes, bytes, tuple[int, int, int, int]]


def _next(frames: BinaryIO, writer: Writer | None) -> Frame | None:
    """The next frame, None at the end; what waits for the end of its step is written when that takes long."""
    if writer is not None and not select.select([frames], [], [], FLUSH_AFTER_S)[0]:
        writer.write()
    head = read_exactly(frames, FRAME.size)
    if head is None:
        return None
    kind, length, *place = FRAME.unpack(head)
    payload = read_exactly(frames, length)
    return None if payload is None else (kind, payload, (place[0], place[1], place[2], place[3]))


def read_exactly(stream: BinaryIO, size: int) -> bytes | None:
    """`size` bytes of an unbuffered stream, None when it ends before."""
    parts = bytearray()
    while len(parts) < size:
        part = stream.read(size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _logits(place: tuple[int, int, int, int], scratch: Scratch) -> Logits | None:
    slot, rows, vocab, slot_bytes = place
    return scratch.get(slot, slot_bytes, rows, vocab) if rows else None


def _answer(answers: BinaryIO, problem: str | None) -> None:
    line = (problem or "").encode()
    try:
        answers.write(ANSWER.pack(len(line)) + line)
        answers.flush()
    except OSError:
        pass  # the engine is gone; what it said is written


def main() -> None:
    for unwanted in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(unwanted, signal.SIG_IGN)  # the end of the frames is what ends a recording
    frames = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(frames, answers, Scratch(int(sys.argv[1])))


if __name__ == "__main__":
    main()
