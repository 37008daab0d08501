"""Events of a request's life: arriving, waiting, being served, ending."""

from __future__ import annotations

from typing import Literal

from engine.events.base import Event
from engine.interventions import Intervened
from engine.params import SamplingParams
from engine.reasons import FinishDetail, FinishReason, PreemptReason, WaitReason

Change = Literal["token", "params", "prompt", "stages", "beam"]


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
    `intervened` are stages that are scaled for it, `changed` names what differs from the parent. A beam names the
    request that its `search` began with.
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
    search: str | None = None


class Waiting(Event, frozen=True):
    """The reason why `request` was not scheduled is now `reason` (said when it changes)."""

    request: str
    reason: WaitReason


class Admitted(Event, frozen=True):
    """WAITING or PREEMPTED -> PREFILLING, with `cached_tokens` of `tokens` already in the cache."""

    request: str
    resumed: bool
    cached_tokens: int
    tokens: int
    need_blocks: int
    free_blocks: int


class Started(Event, frozen=True):
    """PREFILLING -> RUNNING: the whole prompt is computed."""

    request: str


class Shared(Event, frozen=True):
    """WAITING -> RUNNING: a sample starts on the block table of `source`, which prefilled the prompt."""

    request: str
    source: str


class Preempted(Event, frozen=True):
    """PREFILLING or RUNNING -> PREEMPTED; all its blocks are released, at most `recompute_tokens` are lost."""

    request: str
    reason: PreemptReason
    released_blocks: int
    recompute_tokens: int


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
