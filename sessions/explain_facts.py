"""What an explanation knows: the life of a request as facts, each from the record, and what a run came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.events import Change
from engine.reasons import FinishDetail, FinishReason, MatchEnd, Reason, WaitReason

PhaseName = Literal["queue", "prefill", "decode", "preempted"]
JUST_PREEMPTED = "preempted"
"""Code of the wait in the very step that preempted a request; later ones have a reason of their own."""


@dataclass(frozen=True, slots=True)
class Behind:
    """For how many `steps` of a wait `request` was the first in line."""

    request: str
    steps: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Steps from `first_step` to `last_step` that all passed without the request, for one kind of reason.

    `reasons` has one entry for each time its numbers changed. Of those who were first in line meanwhile
    the first are in `behind`; `more_behind` is how often the front changed after them.
    """

    code: str
    first_step: int
    last_step: int
    reasons: tuple[WaitReason, ...] = ()
    behind: tuple[Behind, ...] = ()
    more_behind: int = 0

    @property
    def steps(self) -> int:
        return self.last_step - self.first_step + 1


@dataclass(frozen=True, slots=True)
class Smaller:
    """With blocks of `block_size` tokens, `tokens` would have matched: of what was in the pool at that moment.

    `at_least`: there were too many candidates to compare all.
    """

    block_size: int
    tokens: int
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """A fork goes on from position `at_position` of request `parent`, with `changed` about it."""

    parent: str
    at_position: int
    changed: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Admission:
    """The request entered the batch in `step`, with `cached_tokens` of the `looked_up` it needs in the cache.

    A fork may take them from the table of `inherited_from` instead; then there was no match that could have an
    `end`. `written_by` is who computed the block that `end` compares with; `not_yet_by` a request with the tokens
    that were missing, which had not computed them. `evicted_tokens` were given up for `need_blocks`.
    """

    step: int
    resumed: bool
    looked_up: int
    cached_tokens: int
    end: MatchEnd | None
    need_blocks: int = 0
    free_blocks: int = 0
    evicted_blocks: int = 0
    evicted_tokens: int = 0
    inherited_from: str | None = None
    written_by: str | None = None
    not_yet_by: str | None = None
    smaller: tuple[Smaller, ...] = ()


@dataclass(frozen=True, slots=True)
class Other:
    """A request that could have been preempted instead, and what kept it: a higher priority, or its greater age.

    Neither, where a scheduler chose otherwise.
    """

    request: str
    kept_by: Literal["priority", "age"] | None


@dataclass(frozen=True, slots=True)
class Preemption:
    """The request gave up `released_blocks` in `step`, with the KV of `computed_tokens` in them.

    Of those, `lost_tokens` were not in the cache any more when it resumed in `resumed_step`; both are None if it
    did not.
    """

    step: int
    reason: Reason
    others: tuple[Other, ...]
    released_blocks: int
    computed_tokens: int
    resumed_step: int | None = None
    lost_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The request was in the batch of a step that failed."""

    step: int
    error: str


@dataclass(frozen=True, slots=True)
class Copies:
    """Copies on write: blocks, and the tokens in them."""

    blocks: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class WentBack:
    """The engine went back to the end of `step`, and a branch began.

    KV of `recomputed_tokens` positions was computed again, or `replayed_steps` steps were run again for it.
    """

    step: int
    recomputed_tokens: int
    replayed_steps: int


@dataclass(frozen=True, slots=True)
class Span:
    """Steps of one phase, one after the other.

    `busy_ns` is the time of the steps themselves, `wall_ns` that from the start of the first to the end of the
    last; of failed steps no time is known, and without any it is None.
    """

    phase: PhaseName
    first_step: int
    last_step: int
    busy_ns: int
    wall_ns: int | None

    @property
    def steps(self) -> int:
        return self.last_step - self.first_step + 1


@dataclass(frozen=True, slots=True)
class Ending:
    """How it finished in `step`; `need` and `limit` are the numbers of a refusal, 0 where there are none."""

    step: int
    reason: FinishReason
    detail: FinishDetail
    need: int = 0
    limit: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Life:
    """A request from its arrival, after step `submitted_step`, to its end (None: it has not ended).

    `computed_tokens` counts positions it computed, `recomputed_tokens` those of them whose KV it had had before.
    `leader` prefilled the prompt for this sample, which started on its blocks. A fork's `output_tokens` are those
    of its parent, too, before it parts from it. `wall_ns` spans the whole life.
    """

    request: str
    arrival: int
    priority: int
    sample: int
    samples: int
    leader: str | None
    fork: Origin | None
    submitted_step: int
    prompt_tokens: int
    output_tokens: int
    max_tokens: int
    temperature: float
    waits: tuple[Wait, ...]
    admissions: tuple[Admission, ...]
    preemptions: tuple[Preemption, ...]
    failures: tuple[Failure, ...]
    copies: Copies
    phases: tuple[Span, ...]
    busy_ns: int
    wall_ns: int | None
    computed_tokens: int
    recomputed_tokens: int
    ending: Ending | None
    adapter: str = ""
    beams: int = 1
    went_back: tuple[WentBack, ...] = ()
    drafted_tokens: int = 0
    """Drafts that were verified, and how many of them became tokens."""
    accepted_tokens: int = 0

    @property
    def waited_steps(self) -> int:
        return sum(wait.steps for wait in self.waits)

    @property
    def cached_tokens(self) -> int:
        """What the cache held of it when it was first admitted."""
        return next((each.cached_tokens for each in self.admissions if not each.resumed and each.end), 0)


@dataclass(frozen=True, slots=True)
class Look:
    """Tokens looked up in the prefix cache, and those found."""

    looked_up_tokens: int = 0
    hit_tokens: int = 0

    @property
    def rate(self) -> float | None:
        """The part that was found; None where nothing was looked up."""
        return self.hit_tokens / self.looked_up_tokens if self.looked_up_tokens else None


@dataclass(frozen=True, slots=True)
class RunTotals:
    """What a run came to. Look-ups of requests that resumed are apart: they find what those computed themselves.

    `waited_steps` sums over requests, by code of the reason; `peak_blocks` is the most that tables held at once.
    """

    steps: int
    failed_steps: int
    requests: int
    finished: dict[str, int]
    first_look: Look
    resumed_look: Look
    waited_steps: dict[str, int]
    preemptions: int
    evicted_blocks: int
    copied_blocks: int
    computed_tokens: int
    recomputed_tokens: int
    output_tokens: int
    peak_blocks: int
    num_blocks: int
    block_size: int
    went_back: tuple[WentBack, ...] = ()

    @property
    def all_waited_steps(self) -> int:
        return sum(self.waited_steps.values())
