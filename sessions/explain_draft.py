"""The life of one request while it is being gathered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from engine import events as ev
from sessions.explain_clock import StepClock
from sessions.explain_facts import (
    Admission,
    Copies,
    Ending,
    Failure,
    Life,
    Origin,
    PhaseName,
    Preemption,
    Span,
    WentBack,
)
from sessions.explain_line import Line, Waits


@dataclass(slots=True)
class Draft:
    """What is known so far. `high` is how many of its leading positions have had their KV in its table."""

    event: ev.Submitted | ev.Forked
    waits: Waits = field(default_factory=Waits)
    phases: list[tuple[PhaseName, int, int]] = field(default_factory=list)  # with first and last step
    open_phase: tuple[PhaseName, int] | None = None
    admissions: list[Admission] = field(default_factory=list)
    preemptions: list[Preemption] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    copies: Copies = field(default_factory=Copies)
    went_back: list[WentBack] = field(default_factory=list)
    leader: str | None = None
    output_tokens: int = 0
    computed: int = 0
    recomputed: int = 0
    high: int = 0
    drafted: int = 0
    accepted: int = 0
    ending: Ending | None = None

    @classmethod
    def of_fork(cls, event: ev.Forked) -> Draft:
        """A fork begins with output tokens where its parent's are part of it."""
        return cls(event, output_tokens=event.at_position + len(event.appended) - event.prompt_tokens)

    def enter(self, phase: PhaseName, step: int) -> None:
        """From `step` on it is in `phase`."""
        self.leave(step)
        self.open_phase = phase, step

    def leave(self, step: int) -> None:
        """From `step` on it is not in the phase that it was in."""
        if self.open_phase is not None and self.open_phase[1] < step:
            self.phases.append((*self.open_phase, step - 1))
        self.open_phase = None

    def compute(self, work: ev.Work) -> None:
        """It computed positions, some of them perhaps again."""
        self.computed += work.tokens
        self.recomputed += max(0, min(work.stop, self.high) - work.start)
        self.have(work.stop)

    def have(self, tokens: int) -> None:
        """The KV of its first `tokens` positions is in its table."""
        self.high = max(self.high, tokens)

    def resume(self, step: int, cached_tokens: int) -> None:
        """It is admitted again; how much it lost is known now."""
        if self.preemptions and self.preemptions[-1].resumed_step is None:
            before = self.preemptions[-1]
            lost = max(0, before.computed_tokens - cached_tokens)
            self.preemptions[-1] = replace(before, resumed_step=step, lost_tokens=lost)

    @property
    def samples(self) -> int:
        """How many requests its prompt came for."""
        return 1 if isinstance(self.event, ev.Forked) else self.event.samples

    def life(self, line: Line, clock: StepClock, next_step: int) -> Life:
        """All of it, as of the beginning of `next_step`."""
        self.waits.end(next_step, line)
        self.leave(next_step)
        first = self.event.step + 1
        last = self.ending.step if self.ending else next_step - 1
        about, fork = self.event, _origin(self.event)
        prompt = about.prompt_tokens if isinstance(about, ev.Forked) else len(about.prompt_ids)
        return Life(
            request=about.request, arrival=about.arrival, priority=about.priority, sample=about.sample,
            samples=self.samples, leader=self.leader, fork=fork, submitted_step=about.step,
            prompt_tokens=prompt, output_tokens=self.output_tokens,
            max_tokens=about.params.max_tokens, temperature=about.params.temperature,
            waits=tuple(self.waits.closed), admissions=tuple(self.admissions),
            preemptions=tuple(self.preemptions), failures=tuple(self.failures), copies=self.copies,
            phases=tuple(_span(phase, clock) for phase in self.phases), busy_ns=clock.busy_ns(first, last),
            wall_ns=clock.wall_ns(first, last), computed_tokens=self.computed,
            recomputed_tokens=self.recomputed, ending=self.ending, adapter=about.params.adapter,
            beams=about.params.beams,
            went_back=tuple(self.went_back), drafted_tokens=self.drafted, accepted_tokens=self.accepted,
        )  # fmt: skip


def _origin(event: ev.Submitted | ev.Forked) -> Origin | None:
    return Origin(event.parent, event.at_position, event.changed) if isinstance(event, ev.Forked) else None


def _span(phase: tuple[PhaseName, int, int], clock: StepClock) -> Span:
    name, first, last = phase
    return Span(name, first, last, clock.busy_ns(first, last), clock.wall_ns(first, last))
