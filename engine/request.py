"""A live request, as the bookkeeping knows it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from engine.drafting import Draft, Recent
from engine.kv.holes import held
from engine.params import SamplingParams
from engine.reasons import WaitReason


class RequestState(StrEnum):
    WAITING = "WAITING"
    PREFILLING = "PREFILLING"
    RUNNING = "RUNNING"
    PREEMPTED = "PREEMPTED"
    FINISHED = "FINISHED"


@dataclass(slots=True)
class Request:
    """A live request. `0 <= cached_tokens <= computed <= num_tokens`; the newest token is never computed."""

    id: str
    arrival: int
    priority: int
    sample: int
    samples: int
    leader: str | None  # the sample whose prefill this one waits for
    params: SamplingParams
    prompt_tokens: int
    num_tokens: int  # prompt and output so far
    submitted_step: int
    parent: str | None = None  # of a fork
    forked_at: int = 0  # a fork's tokens before this position are its parent's
    pure_tokens: int | None = None  # KV of later positions is its own: their stages are scaled
    state: RequestState = RequestState.WAITING
    state_step: int = 0  # when it entered `state`
    computed: int = 0  # positions whose KV is in `table`
    cached_tokens: int = 0  # of those, taken from the tree at the latest admission
    table: list[int] = field(default_factory=list)
    dropped: dict[int, int] = field(default_factory=dict)  # holes of `table`: `engine.kv.holes.Drops`
    weights: dict[int, float] = field(default_factory=dict)  # attention of its rows so far, by table index
    draft: Draft | None = None  # what the step under way verifies
    recent: Recent = ()
    search: str | None = None  # the request that its beam search began with
    score: float = 0.0  # of a beam: the sum of its output's log-probabilities
    line: int | None = None  # of a beam: the arrival of that request, where all beams stand in line
    preemptions: int = 0
    failures: int = 0  # failed steps since its latest token
    wait: WaitReason | None = None  # why it was not scheduled, None when it was

    def copy(self) -> Request:
        """An independent copy."""
        return replace(self, table=self.table.copy(), dropped=self.dropped.copy(), weights=self.weights.copy())

    @property
    def output_tokens(self) -> int:
        return self.num_tokens - self.prompt_tokens

    @property
    def pending(self) -> int:
        """Positions still to compute before the next token can be chosen."""
        return self.num_tokens - self.computed

    @property
    def held_back(self) -> int:
        """Positions that its prefill leaves: beams compute their newest tokens together."""
        return int(self.search is not None and self.output_tokens > 0)

    @property
    def held_blocks(self) -> list[int]:
        """The blocks of `table`, without the holes that a KV policy left."""
        return held(self.table) if self.dropped else self.table

    @property
    def own_from(self) -> int | None:
        """From this position on its KV is its own: stages are scaled, or blocks before it were dropped."""
        starts = [*self.dropped.values(), *(() if self.pure_tokens is None else (self.pure_tokens,))]
        return min(starts, default=None)

    def pure_blocks(self, block_size: int) -> int | None:
        """How many leading blocks may be shared through the tree; None when all may."""
        own = self.own_from
        return None if own is None else own // block_size

    @property
    def rank(self) -> tuple[int, int]:
        """Order of service: higher priority first, then arrival; beams where their search arrived."""
        return (-self.priority, self.arrival if self.line is None else self.line)
