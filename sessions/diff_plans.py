"""From a record to the forward passes that led to one row: which steps it depends on, and their jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from engine import events as ev
from engine import keyframe
from engine.execution import Job, Slice
from engine.jobs import JobMaker
from engine.state import State
from sessions.diff_tokens import RequestLog, family
from sessions.errors import SessionError
from sessions.reader import Session
from sessions.records import RequestRow

PAGE_STEPS = 2_000


@dataclass(frozen=True, slots=True)
class RowPlan:
    """The jobs that led to the row `position` of `request`; the last one, of step `steps[-1]`, computes it.

    The first token of a further sample is chosen from the row of the sample that prefilled: that is `request`.
    """

    request: str
    position: int
    steps: Sequence[int]
    jobs: Sequence[Job]

    @property
    def tokens(self) -> int:
        """How many tokens its passes compute."""
        return sum(part.work.tokens for job in self.jobs for part in job.slices)


def plan_of(
    session: Session, request: str, position: int, *, every_step: bool = False, branch: int = 0
) -> RowPlan:
    """The passes behind the row that chose the token at `position` + 1.

    Without `every_step`, those that computed the row's own sequence or filled blocks it took from the cache;
    a whole batch each, because a row's last bits depend on how many others there are. Raises SessionError
    where nothing was chosen there.
    """
    request = chooser(session, request, position + 1, branch)
    chosen = session.token(request, position + 1, branch)
    if chosen is None:
        raise SessionError(f"request {request} of {session.path} has chosen no token at position {position + 1}")
    last = chosen.chosen_step
    steps = range(1, last + 1) if every_step else sorted(_Needed(session, branch).steps_of(request, last))
    jobs = list(_jobs(session, steps, branch))
    assert jobs, f"no pass led to the token of request {request} at position {position + 1}"
    return RowPlan(
        _whose_row(request, jobs[-1][1]), position, [step for step, _ in jobs], [job for _, job in jobs]
    )


def chooser(session: Session, request: str, position: int, branch: int = 0) -> str:
    """Who chose the token at `position` of `request`: of a fork's tokens, those before it are its parent's."""
    row = session.request(request, branch)
    while row.parent is not None and row.at_position is not None and position < row.at_position:
        row = session.request(row.parent, branch)
    return row.request


def given_by_fork(session: Session, request: str, position: int, branch: int = 0) -> RequestRow | None:
    """The fork that set the token at `position` of `request`, which nobody chose then."""
    row = session.request(chooser(session, request, position, branch), branch)
    if row.forked is None or row.at_position is None:
        return None
    return row if position < row.at_position + len(row.forked.appended) else None


def _whose_row(request: str, job: Job) -> str:
    return next(job.slices[each.row].work.request for each in job.choices if each.request == request)


@dataclass(slots=True)
class _Needed:
    """Collects steps: those of a request, and those of whoever filled the blocks in its table."""

    session: Session
    branch: int
    found: set[int] = field(default_factory=set)
    seen: dict[str, int] = field(default_factory=dict)

    def steps_of(self, request: str, last: int) -> set[int]:
        wanted = [(request, last)]
        while wanted:
            request, last = wanted.pop()
            if self.seen.get(request, 0) < last:
                self.seen[request] = last
                steps = self._steps(request, last)
                self.found.update(steps)
                wanted += self._owners(request, steps)
        return self.found

    def _steps(self, request: str, last: int) -> list[int]:
        """The steps up to `last` that computed tokens of `request`, or of samples that share its table."""
        row = self.session.request(request, self.branch)
        together = set(family(row))
        first = row.submitted_step + 1
        found: list[int] = []
        for page in range(first, last + 1, PAGE_STEPS):
            rows = self.session.step_rows(page, min(last, page + PAGE_STEPS - 1), self.branch)
            found += [row.step for row in rows if any(work.request in together for work in row.works)]
        return found

    def _owners(self, request: str, steps: Sequence[int]) -> Iterator[tuple[str, int]]:
        """Who filled the blocks that `request` took over from others, and until when."""
        for step in steps:
            for row in self.session.events_of_step(step, self.branch):
                event = row.event
                if isinstance(event, (ev.PrefixMatched, ev.Inherited, ev.Shared)) and event.request == request:
                    if not isinstance(event, ev.PrefixMatched):
                        yield event.source, step
                    for block in getattr(event, "blocks", ()):
                        given = self.session.given_out(block, step, self.branch)
                        if given is not None and given.request not in (None, request):
                            yield str(given.request), step


def all_jobs(session: Session, branch: int, told: Callable[[int], object]) -> Iterator[Job]:
    """The jobs of the whole run, one after the other; `told` hears the step of each."""
    for step, job in _jobs(session, range(1, session.last_step(branch) + 1), branch):
        told(step)
        yield job


def _jobs(session: Session, steps: Sequence[int], branch: int) -> Iterator[tuple[int, Job]]:
    """The jobs of `steps` that ran to their end, as they were planned."""
    known = RequestLog(session, branch)
    state, at = State.at_start(session.header.num_blocks, session.header.options), None
    for step in steps:
        if at is None or step != at + 1:
            state = keyframe.unpack(keyframe.pack(session.state_at(step - 1, branch)))
        row, at = session.step_row(step, branch), step
        plan: list[ev.Event] = []
        for each in session.events_of_step(step, branch):
            state.apply(each.event)
            plan.append(each.event)
            if isinstance(each.event, ev.Scheduled) and each.event.batch and row is not None and not row.error:
                known.read(work.request for work in each.event.batch)
                yield step, _settled(JobMaker(state, known.log).job(plan, each.event.batch))


def _settled(job: Job) -> Job:
    """A job that chooses nothing by itself, and keeps its block tables when the state goes on.

    What it read back from host files is computed: the files are gone with the run.
    """
    loads = [replace(load, part=_settled_part(load.part)) for load in job.loads]
    slices = [_settled_part(part) for part in job.slices]
    return Job(tuple(job.copies), slices, tuple(job.choices), beams=tuple(job.beams), loads=loads)


def _settled_part(part: Slice) -> Slice:
    return replace(part, token_ids=tuple(part.token_ids), table=tuple(part.table), dropped=dict(part.dropped))
