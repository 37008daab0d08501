"""What the engine says: every change of its bookkeeping, in order, as plain data.

`State.apply` folds these and nothing else changes bookkeeping. An event that happens between two steps
carries the number of the step before it. Fields, units and examples: `docs/events.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from engine.changed_logits import Changed
from engine.interventions import Intervened
from engine.params import Policy, SamplingParams
from engine.plug_guard import Why
from engine.reasons import FinishDetail, FinishReason, MatchEnd, PreemptReason, WaitReason

SCHEMA_VERSION = 2

Phase = Literal["prefill", "decode"]
Change = Literal["token", "params", "prompt", "stages"]
ABANDONED = "abandoned"
"""The error of a step that a person gave up, which is no failure of its requests."""
BY_HAND = ""
"""Stands for a request where a person asked, and no request did."""


def _tag(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=_tag, kw_only=True):
    """Base of all events: the branch and the step it belongs to."""

    branch: int
    step: int


class Submitted(Event, frozen=True):
    """A request arrived and waits. `arrival` orders requests; samples of one prompt share `leader`'s prefill."""

    request: str
    arrival: int
    priority: int
    sample: int
    samples: int
    leader: str | None
    params: SamplingParams
    prompt_ids: tuple[int, ...]


class Forked(Event, frozen=True):
    """A request arrived that goes on from position `at_position` of `parent` with something changed.

    Its tokens are the parent's before that position and `appended`; `prompt_tokens` of them are prompt.
    `intervened` are stages that are scaled for it, `changed` names what differs from the parent.
    """

    request: str
    arrival: int
    priority: int
    sample: int
    parent: str
    at_position: int
    appended: tuple[int, ...]
    prompt_tokens: int
    params: SamplingParams
    changed: tuple[Change, ...]
    intervened: Intervened | None = None


class Inherited(Event, frozen=True):
    """Fork `request` took shared `blocks` from the table of `source`: they hold its first `tokens` tokens."""

    request: str
    source: str
    blocks: tuple[int, ...]
    tokens: int


class PolicyChanged(Event, frozen=True):
    """From the next step on requests are admitted in the order of `policy`."""

    policy: Policy


class LogitsChanged(Event, frozen=True):
    """Plugin `plugin` changed the logits from which the token for `position` is chosen."""

    request: str
    position: int
    plugin: str
    change: Changed


class PluginDisabled(Event, frozen=True):
    """Plugin `plugin` is not asked any more: its `hook` failed (`why`, `message`), and the run goes on without.

    A logits processor failed at `position` of `request`. `policy` and `eviction` take the place of its own.
    """

    plugin: str
    hook: str
    why: Why
    message: str
    request: str | None = None
    position: int | None = None
    policy: str | None = None
    eviction: str | None = None


class Branched(Event, frozen=True):
    """The engine went back to the end of step `step` of branch `parent`; what follows is a branch of its own.

    KV of `recomputed_tokens` positions was lost and computed again in chunks, or `replayed_steps` recorded
    steps were run again as they were; the rest of the KV was still in its slots.
    """

    parent: int
    recomputed_tokens: int
    replayed_steps: int


class Waiting(Event, frozen=True):
    """The reason why `request` was not scheduled is now `reason` (said when it changes)."""

    request: str
    reason: WaitReason


class PrefixMatched(Event, frozen=True):
    """`request` took `blocks` (in table order, holding `tokens` tokens) from the radix tree.

    `looked_up` is the number of tokens it looked for, `end` why the match ended where it did.
    """

    request: str
    blocks: tuple[int, ...]
    tokens: int
    looked_up: int
    end: MatchEnd


class Evicted(Event, frozen=True):
    """`blocks` left the tree from the tail of `node`, to make room for `for_request` (`""`: a person asked).

    `tokens` cached tokens were lost, last used at `last_use_step`; `hits` is how often they had been matched.
    """

    node: int
    blocks: tuple[int, ...]
    tokens: int
    hits: int
    last_use_step: int
    policy: str
    for_request: str


class Allocated(Event, frozen=True):
    """`request` owns the free `blocks` from table index `index` on."""

    request: str
    index: int
    blocks: tuple[int, ...]


class Copied(Event, frozen=True):
    """Copy on write: table index `index` of `request` moves from shared `source` to its own `block`.

    The first `tokens` slots are copied before the forward pass.
    """

    request: str
    index: int
    source: int
    block: int
    tokens: int


class Admitted(Event, frozen=True):
    """WAITING or PREEMPTED -> PREFILLING, with `cached_tokens` of `tokens` already in the cache."""

    request: str
    resumed: bool
    cached_tokens: int
    tokens: int
    need_blocks: int
    free_blocks: int


class Preempted(Event, frozen=True):
    """PREFILLING or RUNNING -> PREEMPTED; all its blocks are released, at most `recompute_tokens` are lost."""

    request: str
    reason: PreemptReason
    released_blocks: int
    recompute_tokens: int


class Work(msgspec.Struct, frozen=True, array_like=True):
    """One request's share of a batch: compute `tokens` positions from `start` on."""

    request: str
    phase: Phase
    start: int
    tokens: int

    @property
    def stop(self) -> int:
        return self.start + self.tokens


class Scheduled(Event, frozen=True):
    """The plan is complete: `batch` runs now, `budget` is the most tokens a step may take."""

    batch: tuple[Work, ...]
    budget: int


class Computed(Event, frozen=True):
    """The forward pass ran: the KV of every position in `batch` is in its slot."""

    batch: tuple[Work, ...]


class Cached(Event, frozen=True):
    """Full `blocks` of `request`, from table index `index` on, entered the tree at the end of `node`.

    `created` says that `node` is new, under `parent`; `hashes` chain over all tokens from position 0.
    """

    request: str
    index: int
    blocks: tuple[int, ...]
    hashes: tuple[int, ...]
    node: int
    parent: int
    created: bool


class Split(Event, frozen=True):
    """`node` keeps its first `at` blocks; the others and its children move to the new node `child`."""

    node: int
    child: int
    at: int


class KeptPrivate(Event, frozen=True):
    """A full block did not enter the tree because `twin` already holds the same tokens there."""

    request: str
    index: int
    block: int
    hash: int
    twin: int


class Started(Event, frozen=True):
    """PREFILLING -> RUNNING: the whole prompt is computed."""

    request: str


class Shared(Event, frozen=True):
    """WAITING -> RUNNING: a sample starts on the block table of `source`, which prefilled the prompt."""

    request: str
    source: str


class Token(Event, frozen=True):
    """`token` was chosen for `position`; `draw` is the uniform number used, None when greedy."""

    request: str
    position: int
    token: int
    draw: float | None


class Finished(Event, frozen=True):
    """Any unfinished state -> FINISHED(`reason`); its blocks are released.

    `need` and `limit` are the numbers of a refusal (`detail` does_not_fit, kv_full, context).
    """

    request: str
    reason: FinishReason
    detail: FinishDetail
    output_tokens: int
    need: int = 0
    limit: int = 0
    message: str = ""


class StepCommitted(Event, frozen=True):
    """The step is whole. Times are observations: wall-clock, not part of any decision."""

    tokens: int
    started_ns: int
    plan_ns: int
    forward_ns: int
    sample_ns: int
    commit_ns: int


class StepFailed(Event, frozen=True):
    """`execute` raised: every block the step could have written is dropped.

    Its requests wait again, but `ended` (they failed twice without a token in between) finish with an error.
    """

    error: str
    ended: tuple[str, ...]


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


def type_of(event: Event) -> str:
    """The name under which `event` is stored, such as `prefix_matched`."""
    return str(event.__struct_config__.tag)


def request_in(event: Event) -> str | None:
    """The request `event` speaks of, None when it speaks of none or of several."""
    return getattr(event, "request", None)
