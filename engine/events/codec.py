"""Events as lines of JSON, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from engine.events.base import Event
from engine.events.beams import BeamsChosen, BeamsEnded
from engine.events.blocks import Allocated, Cached, Copied, Evicted, Inherited, KeptPrivate, PrefixMatched, Split
from engine.events.drafts import Drafted, GivenBack, Verified
from engine.events.keeping import Dropped, Loaded, Offloaded, OffloadLost, Uncached, Weighed
from engine.events.plugins import LogitsChanged, PluginDisabled
from engine.events.requests import (
    Admitted,
    Finished,
    Forked,
    Preempted,
    Shared,
    Started,
    Submitted,
    Token,
    Waiting,
)
from engine.events.steps import Branched, Computed, PolicyChanged, Scheduled, StepCommitted, StepFailed

AnyEvent: TypeAlias = (
    Submitted
    | Forked
    | Inherited
    | PolicyChanged
    | LogitsChanged
    | PluginDisabled
    | Branched
    | Waiting
    | PrefixMatched
    | Evicted
    | Allocated
    | Copied
    | Admitted
    | Preempted
    | Scheduled
    | Computed
    | Cached
    | Split
    | KeptPrivate
    | Weighed
    | Dropped
    | Uncached
    | Offloaded
    | Loaded
    | OffloadLost
    | Drafted
    | Verified
    | GivenBack
    | BeamsChosen
    | BeamsEnded
    | Started
    | Shared
    | Token
    | Finished
    | StepCommitted
    | StepFailed
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """`event` as one line of JSON, without the line end."""
    return _encoder.encode(event)


def encode_lines(events: Sequence[Event]) -> bytes:
    """`events` as lines of JSON, each with its line end."""
    return _encoder.encode_lines(events)


def decode(line: bytes | str) -> AnyEvent:
    """The event in one line of JSON; raises msgspec.ValidationError when it is not one."""
    return _decoder.decode(line)


def decode_lines(lines: bytes) -> list[AnyEvent]:
    """The events in lines of JSON; raises msgspec.ValidationError when one is not one."""
    return _decoder.decode_lines(lines)
