"""One row of each plain table, as the recorder writes it and the reader returns it.

The fields of a record are the columns of its table, in order; units are in `docs/session-format.md`.
"""

from __future__ import annotations

import struct
from array import array
from enum import IntFlag
from typing import Literal

import msgspec

from engine.capture import TensorKey
from engine.events import AnyEvent, Change, Work
from engine.interventions import Intervened
from engine.params import SamplingParams


class Notable(IntFlag):
    """Why a step is worth a stop on the timeline."""

    ADMITTED = 1
    PREEMPTED = 2
    EVICTED = 4
    FINISHED = 8
    FAILED = 16


class Branch(msgspec.Struct, frozen=True):
    """A line of history: it continues `parent` after `parent_step`. Branch 0 has no parent."""

    branch: int
    parent: int | None
    parent_step: int | None
    cause: str


class EventRow(msgspec.Struct, frozen=True):
    """An event by its number: `seq` counts from 1 without gaps, over all branches."""

    seq: int
    event: AnyEvent


class StepRow(msgspec.Struct, frozen=True):
    """A step that ended: its times, what it ran, and the counts at its end (totals since the start)."""

    branch: int
    step: int
    first_seq: int
    last_seq: int
    started_ns: int
    plan_ns: int
    forward_ns: int
    sample_ns: int
    commit_ns: int
    tokens: int
    prefill_tokens: int
    decode_tokens: int
    budget: int
    running: int
    waiting: int
    preempted: int
    free_blocks: int
    cached_blocks: int
    owned_blocks: int
    submitted: int
    finished: int
    looked_up_tokens: int
    hit_tokens: int
    evicted_blocks: int
    preemptions: int
    computed_tokens: int
    output_tokens: int
    notable: int
    error: str | None
    batch: str

    @property
    def works(self) -> tuple[Work, ...]:
        """What the step computed: each request's share."""
        return decode_batch(self.batch)

    @property
    def total_ns(self) -> int:
        """Time of the step's parts: plan, forward, sample and commit."""
        return self.plan_ns + self.forward_ns + self.sample_ns + self.commit_ns


class ForkChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a fork changed: the kinds of change, the token ids it put in, and the stages it scales."""

    changed: tuple[Change, ...] = ()
    appended: tuple[int, ...] = ()
    intervened: Intervened | None = None


class RequestRow(msgspec.Struct):
    """A request as of its latest change of state; `output_tokens` as of the latest step.

    A fork goes on from position `at_position` of `parent`; `change` is its `ForkChange` as JSON.
    """

    branch: int
    request: str
    arrival: int
    priority: int
    sample: int
    samples: int
    leader: str | None
    params: str
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    preemptions: int
    state: str
    submitted_step: int
    admitted_step: int | None = None
    first_token_step: int | None = None
    finished_step: int | None = None
    finish_reason: str | None = None
    finish_detail: str | None = None
    message: str = ""
    output_text: str | None = None
    parent: str | None = None
    at_position: int | None = None
    change: str | None = None

    @property
    def forked(self) -> ForkChange | None:
        """What differs from the parent, where this is a fork."""
        return None if self.change is None else msgspec.json.decode(self.change, type=ForkChange)

    @property
    def sampling(self) -> SamplingParams:
        return msgspec.json.decode(self.params, type=SamplingParams)


PhaseName = Literal["waiting", "prefill", "decode", "preempted"]


class Phase(msgspec.Struct):
    """A request was in `phase` from `first_step` to `last_step`, both included; open while that is None.

    A phase that no step saw has `last_step == first_step - 1`. For prefill, `tokens` is what it had to
    hold and `cached_tokens` what the cache already held; both are 0 for other phases.
    """

    branch: int
    request: str
    number: int
    phase: PhaseName
    first_step: int
    last_step: int | None = None
    tokens: int = 0
    cached_tokens: int = 0


class TokenRow(msgspec.Struct, frozen=True):
    """A generated token, chosen at `chosen_step`; its own KV was last written at `computed_step`.

    Everything from `raw_logprob` on is None where the run had no details to record; `draw`, `low` and
    `high` are None for a greedy choice.
    """

    branch: int
    request: str
    position: int
    token: int
    text: str
    chosen_step: int
    computed_step: int | None = None
    raw_logprob: float | None = None
    logprob: float | None = None
    rank: int | None = None
    entropy: float | None = None
    varentropy: float | None = None
    draw: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    near_tie: bool | None = None
    logits_hash: int | None = None


class Decision(msgspec.Struct, frozen=True):
    """Something the engine did or refused, with the code of its reason; the numbers are in `event`."""

    seq: int
    branch: int
    step: int
    request: str | None
    code: str
    event: AnyEvent


BlockChangeName = Literal[
    "allocated",
    "matched",
    "copied",
    "shared",
    "cached",
    "kept_private",
    "released",
    "evicted",
    "dropped",
    "uncached",
]


class BlockChange(msgspec.Struct, frozen=True):
    """A block changed hands: after event `seq` it is in `state`, held by `ref_count` tables.

    `request` is who took, gave up or filled it, or for whom it was evicted; `block_index` its place in
    that table, -1 when evicted.
    """

    branch: int
    block: int
    seq: int
    step: int
    change: BlockChangeName
    request: str | None
    block_index: int
    ref_count: int
    state: str


class TensorRow(msgspec.Struct, frozen=True):
    """A captured tensor without its bytes: `dtype` as in safetensors (`F32`, `BF16`), shape outermost first."""

    id: int
    key: TensorKey
    dtype: str
    shape: tuple[int, ...]


_batch_decoder: msgspec.json.Decoder[tuple[Work, ...]] = msgspec.json.Decoder(tuple[Work, ...])


def decode_batch(text: str) -> tuple[Work, ...]:
    """The batch in the column of that name."""
    return _batch_decoder.decode(text)


def pack_ids(ids: tuple[int, ...]) -> bytes:
    """Token ids as little endian 32-bit integers."""
    return struct.pack(f"<{len(ids)}i", *ids)


def unpack_ids(data: bytes) -> array[int]:
    """The token ids that `pack_ids` packed."""
    return array("i", struct.unpack(f"<{len(data) // 4}i", data))
