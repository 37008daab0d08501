"""What speculative decoding came to for one request: acceptance, passes, time, and whether it was exact."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median

from sessions.draft_rounds import Choice, Round

FEWEST_PLAIN = 3
"""So many plain decode steps tell what one takes."""
LEAST_VARIANCE = 5.0
"""Below it a sum of choices is not near enough to a normal distribution for a p-value."""


@dataclass(slots=True)
class Place:
    """The n-th draft in a row: how often one was held against the target, and how often it was accepted."""

    tried: int = 0
    accepted: int = 0

    @property
    def rate(self) -> float:
        return self.accepted / self.tried if self.tried else 0.0


@dataclass(frozen=True, slots=True)
class Exactness:
    """Whether the likeliest token was taken as often as it should have been, among `tokens` choices.

    Of a greedy request each must be it. Of one that draws, `expected` is the sum of its probabilities; `z` is how
    many standard deviations `taken` lies from there and `p_value` how often chance alone goes as far; both are
    None while there are too few draws to tell.
    """

    greedy: bool
    tokens: int
    taken: int
    expected: float
    z: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """Time saved by verifying, estimated: `plain_ns` is the median of `plain_steps` steps without drafts.

    `took_ns` is what the rounds that verified took, `would_ns` what plain decoding of their `tokens` would have.
    """

    tokens: int

    plain_ns: float
    plain_steps: int
    took_ns: int
    would_ns: float


@dataclass(slots=True)
class Tally:
    """Adds up rounds of one request in order."""

    greedy: bool
    rounds: list[Round] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    methods: set[str] = field(default_factory=set)
    passes: int = 0
    verified_passes: int = 0
    drafted: int = 0
    accepted: int = 0
    tokens: int = 0
    _plain_ns: list[int] = field(default_factory=list)
    _alone_ns: int = 0
    _alone_plan_ns: int = 0
    _alone_passes: int = 0
    _alone_tokens: int = 0
    _known: int = 0
    _taken: int = 0
    _expected: float = 0.0
    _variance: float = 0.0

    def add(self, one: Round) -> None:
        self.rounds.append(one)
        if one.forced:
            return
        self.passes += 1
        self.tokens += len(one.choices)
        if one.drafted is not None:
            self.methods.add(one.drafted.method)
        if one.verified is None:
            if one.alone:
                self._plain_ns.append(one.total_ns)
            return
        self.verified_passes += 1
        self.drafted += len(one.verified.drafts)
        self.accepted += one.accepted
        self._add_places(one)
        self._add_choices(one)
        if one.alone:
            self._alone_ns += one.total_ns
            self._alone_plan_ns += one.plan_ns
            self._alone_passes += 1
            self._alone_tokens += len(one.choices)

    def _add_places(self, one: Round) -> None:
        assert one.verified is not None
        for verdict, depth in zip(one.verified.drafts, depths(one), strict=True):
            if verdict.verdict == "unused":
                continue
            while len(self.places) <= depth:
                self.places.append(Place())
            self.places[depth].tried += 1
            self.places[depth].accepted += verdict.verdict == "accepted"

    def _add_choices(self, one: Round) -> None:
        for choice in one.choices:
            if choice.likeliest is None or choice.probability is None:
                continue
            self._known += 1
            self._taken += self._is_likeliest(choice)
            self._expected += choice.probability
            self._variance += choice.probability * (1 - choice.probability)

    def _is_likeliest(self, choice: Choice) -> bool:
        """Of a greedy request also where another token is as likely: float32 tells them apart no more."""
        tied = self.greedy and choice.own is not None and choice.own == choice.probability
        return tied or choice.token == choice.likeliest

    @property
    def per_forward(self) -> float | None:
        """Tokens for each pass of the target after the prefill, with drafts or without."""
        return self.tokens / self.passes if self.passes else None

    @property
    def exactness(self) -> Exactness | None:
        """None where nothing was verified, or no candidates were recorded."""
        if not self._known:
            return None
        if self.greedy:
            return Exactness(True, self._known, self._taken, float(self._known))
        z = p_value = None
        if self._variance >= LEAST_VARIANCE:
            z = (self._taken - self._expected) / math.sqrt(self._variance)
            p_value = math.erfc(abs(z) / math.sqrt(2))
        return Exactness(False, self._known, self._taken, self._expected, z, p_value)

    @property
    def pass_ns(self) -> tuple[float, float] | None:
        """What a pass with drafts took that this request had to itself, and the part of it before the forward."""
        if not self._alone_passes:
            return None
        return self._alone_ns / self._alone_passes, self._alone_plan_ns / self._alone_passes

    @property
    def saved(self) -> Saved | None:
        """None where there are too few steps that this request had to itself, with drafts or without."""
        if len(self._plain_ns) < FEWEST_PLAIN or not self._alone_tokens:
            return None
        plain = median(self._plain_ns)
        return Saved(self._alone_tokens, plain, len(self._plain_ns), self._alone_ns, plain * self._alone_tokens)


def depths(one: Round) -> list[int]:
    """How many drafts each draft of a round follows: its index, but for those of a tree."""
    assert one.verified is not None
    parents = one.drafted.parents if one.drafted is not None else ()
    found: list[int] = []
    for index in range(len(one.verified.drafts)):
        parent = parents[index] if parents else index - 1
        found.append(found[parent] + 1 if parent >= 0 else 0)
    return found


__all__ = ["Exactness", "Place", "Saved", "Tally", "depths"]
