"""Messages as length-prefixed msgpack frames on a pair of pipes."""

from __future__ import annotations

import struct
from typing import BinaryIO, TypeAlias, TypeVar

import msgspec

from engine.protocol.answers import (
    Closed,
    Done,
    Fatal,
    Loading,
    Progress,
    Ready,
    Reply,
    Rewound,
    StageReport,
    Stopped,
)
from engine.protocol.base import Message
from engine.protocol.commands import (
    Abort,
    Close,
    DisablePlugin,
    Do,
    Evict,
    Fork,
    Open,
    Pause,
    Preempt,
    Rewind,
    Run,
    SetPolicy,
    Step,
    Submit,
)
from engine.protocol.looking import Inspect, Inspection, LayersSeen, LookLayers
from engine.protocol.walking import (
    Abandon,
    FinishForward,
    LookStage,
    NextLayer,
    NextStage,
    StepInto,
    ToStage,
)

MAX_FRAME_BYTES = 1 << 30
_LENGTH = struct.Struct("<I")

Command: TypeAlias = (
    Open
    | Submit
    | Abort
    | Fork
    | Rewind
    | Preempt
    | Evict
    | SetPolicy
    | DisablePlugin
    | Step
    | Run
    | Pause
    | Inspect
    | Close
    | StepInto
    | NextStage
    | NextLayer
    | ToStage
    | LookStage
    | FinishForward
    | Abandon
    | LookLayers
    | Do
)

Answer: TypeAlias = (
    Loading
    | Ready
    | Progress
    | Reply
    | Done
    | Stopped
    | Rewound
    | Inspection
    | StageReport
    | LayersSeen
    | Fatal
    | Closed
)


class ChannelError(RuntimeError):
    """The other side is gone, or does not speak this protocol."""


M = TypeVar("M")
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder()


def send(stream: BinaryIO, message: Message) -> None:
    """Write one frame. ChannelError when the other side is gone."""
    data = _encoder.encode(message)
    try:
        stream.write(_LENGTH.pack(len(data)) + data)
        stream.flush()
    except (OSError, ValueError) as error:
        raise ChannelError(f"the channel is closed: {error}") from error


def receive_command(stream: BinaryIO) -> Command | None:
    """The next command, None at the end of the channel."""
    data = _read_frame(stream)
    return None if data is None else _decode(_commands, data)


def receive_answer(stream: BinaryIO) -> Answer | None:
    """The next answer, None at the end of the channel."""
    data = _read_frame(stream)
    return None if data is None else _decode(_answers, data)


def _decode(decoder: msgspec.msgpack.Decoder[M], data: bytes) -> M:
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ChannelError(f"not a message of this protocol: {error}") from error


def _read_frame(stream: BinaryIO) -> bytes | None:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise ChannelError(f"a frame of {length} bytes is no message of this protocol")
    data = stream.read(length)
    return data if len(data) == length else None
