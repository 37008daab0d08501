"""What all messages have, and how a request and a fork are written in them."""

from __future__ import annotations

import msgspec

from engine.interventions import Scale
from engine.params import SamplingParams


class Message(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Base of everything on the channel; `id` links a command to its reply."""

    id: int = 0


class RequestText(msgspec.Struct, frozen=True):
    """A request before it is encoded: exactly one of prompt, messages and prompt_ids."""

    prompt: str | None = None
    messages: tuple[dict[str, str], ...] | None = None
    prompt_ids: tuple[int, ...] | None = None
    params: SamplingParams = SamplingParams()
    n: int = 1
    priority: int = 0
    arrival_step: int = 0
    line: int = 0  # of the workload file it came from, 0 when it came from none


class ForkText(msgspec.Struct, frozen=True):
    """A fork before it is encoded: `engine.forking.ForkSpec`, with text where that has token ids.

    The other token at `at_position` is `token`, or `text`, which must be one token; `prompt_end` (or
    `prompt_ids`) stands in the place of the prompt's tokens from there on.
    """

    parent: str
    at_position: int
    token: int | None = None
    text: str | None = None
    prompt_end: str | None = None
    prompt_ids: tuple[int, ...] | None = None
    params: SamplingParams | None = None
    scales: tuple[Scale, ...] = ()
