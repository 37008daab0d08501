"""Which steps are worth looking at for a point: found by a query where one can say."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import chain, groupby

from engine.debug.bound import BlockFact, Fact, Leaf, RequestFact
from engine.debug.names import Needs
from engine.debug.points import Point
from engine.debug.said import Caught
from sessions.debug.to_sql import NotInTableError, Sql, at_most_where, value_sql
from sessions.errors import SessionError
from sessions.reader import Session
from sessions.records import Notable

_NOTABLE: dict[Caught, Notable] = {
    "preempt": Notable.PREEMPTED,
    "evict": Notable.EVICTED,
    "miss": Notable.ADMITTED,
    "finish": Notable.FINISHED | Notable.PREEMPTED | Notable.EVICTED,
    "reject": Notable.FINISHED,
    "error": Notable.FINISHED | Notable.FAILED,
}


def steps_for(point: Point, session: Session, branch: int, upto: int) -> Iterator[int] | None:
    """Steps up to `upto`, the latest first, among which are all where the point is met; None: any may be."""
    if point.event is not None:
        return _around(session.notable_before(int(_NOTABLE[point.event]), upto, branch), upto)
    expression = point.expression
    if expression is None:
        return None
    if Needs.TOKEN in expression.needs:
        if point.why != "watch":
            where = _own(at_most_where(expression.tree), point)
            return session.token_steps(where.text, where.values, upto, branch)
        return _token_changes(point, session, branch, upto)
    changed = [_changes_of(leaf, session, branch, upto) for _, leaf in expression.names]
    known = [steps for steps in changed if steps is not None]
    if len(known) < len(changed):
        return None
    around = _around(_merged(known), upto)
    return around if point.why == "watch" else _states(around, upto)


def _token_changes(point: Point, session: Session, branch: int, upto: int) -> Iterator[int]:
    assert point.expression is not None
    try:
        value = value_sql(point.expression.tree)
    except NotInTableError:
        where = _own(Sql("TRUE"), point)
        return session.token_steps(where.text, where.values, upto, branch)
    return session.token_changes(value.text, value.values, upto, branch, point.request)


def _own(where: Sql, point: Point) -> Sql:
    """A condition for tokens of the point's request alone, if it has one."""
    if point.request is None:
        return where
    return Sql(f"({where.text}) AND request = ?", (*where.values, point.request))


def _changes_of(leaf: Leaf, session: Session, branch: int, upto: int) -> Iterator[int] | None:
    """The steps in which a value can have changed, the latest first; None where there may be too many to say."""
    match leaf:
        case Fact(name="kv.total"):
            return iter(())
        case BlockFact(block=block, attribute="state" | "refs" | "hits"):
            return session.block_steps(block, upto, branch)
        case BlockFact(block=block):
            return _writing(block, session, branch, upto)
        case RequestFact(request=str(request), attribute=attribute):
            return _of_request(request, attribute, session, branch, upto)
    return None


def _writing(block: int, session: Session, branch: int, upto: int) -> Iterator[int]:
    """The steps that can have written a block: from when it is given out until it is full, or nobody's."""
    steps: set[int] = set()
    since: int | None = None
    for change in session.block_history(block, branch):
        if change.step > upto:
            break
        steps.add(change.step)
        if change.change in ("allocated", "copied", "shared"):
            since = change.step if since is None else since
        elif since is not None and (change.change in ("cached", "kept_private") or change.ref_count == 0):
            steps.update(range(since, change.step + 1))
            since = None
    if since is not None:
        steps.update(range(since, upto + 1))
    return iter(sorted(steps, reverse=True))


def _of_request(request: str, attribute: str, session: Session, branch: int, upto: int) -> Iterator[int]:
    """When a request came, went, and changed its phase; for what grows with it, all its life."""
    try:
        row = session.request(request, branch)
    except SessionError:
        return iter(())
    end = upto if row.finished_step is None else min(upto, row.finished_step + 1)
    if attribute not in ("state", "cached"):
        return iter(range(end, row.submitted_step - 1, -1))
    steps = {row.submitted_step, end}
    for phase in session.request_phases(request, branch):
        steps |= {phase.first_step, phase.last_step or end}
    return iter(sorted((step for step in steps if step <= upto), reverse=True))


def _around(steps: Iterable[int], upto: int) -> Iterator[int]:
    """Each step, the one after it (what is said between steps is met by the next plan), and the first."""
    following = (each for step in steps for each in (step + 1, step) if 0 < each <= upto)
    return _distinct(chain(following, (1,) if upto >= 1 else ()))


def _states(changes: Iterable[int], upto: int) -> Iterator[int]:
    """Where a state may be seen: now, and on both sides of each change."""
    return _distinct(chain((upto,), (each for step in changes for each in (step, step - 1) if each > 0)))


def _merged(steps: list[Iterator[int]]) -> Iterator[int]:
    return heapq.merge(*steps, reverse=True)


def _distinct(steps: Iterable[int]) -> Iterator[int]:
    """Descending steps, each once."""
    seen: int | None = None
    for step, _ in groupby(steps):
        if seen is None or step < seen:
            seen = step
            yield step
