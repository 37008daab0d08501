"""Which steps are worth looking at for a point: found by a query where one can say."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import chain, groupby

from engine.debug.bound import BlockFact, Fact, Leaf
from engine.debug.names import Needs
from engine.debug.points import Point
from engine.debug.said import Caught
from sessions.debug.to_sql import NotInTableError, at_most_where, value_sql
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
            where = at_most_where(expression.tree)
            return session.token_steps(where.text, where.values, upto, branch)
        return _token_changes(point, session, branch, upto)
    leaves = [leaf for _, leaf in expression.names]
    if _only_blocks(leaves):
        changed = _block_changes(leaves, session, branch, upto)
        return changed if point.why == "watch" else _states(changed, upto)
    return None


def _token_changes(point: Point, session: Session, branch: int, upto: int) -> Iterator[int]:
    assert point.expression is not None
    try:
        value = value_sql(point.expression.tree)
    except NotInTableError:
        return session.token_steps("TRUE", (), upto, branch)
    return session.token_changes(value.text, value.values, upto, branch)


def _only_blocks(leaves: Iterable[Leaf]) -> bool:
    """Whether all that is looked at changes only when a block moves."""
    return all(
        (isinstance(leaf, BlockFact) and leaf.attribute in ("state", "refs", "hits")) or leaf == Fact("kv.total")
        for leaf in leaves
    )


def _block_changes(leaves: Iterable[Leaf], session: Session, branch: int, upto: int) -> Iterator[int]:
    blocks = {leaf.block for leaf in leaves if isinstance(leaf, BlockFact)}
    return _around(_merged([session.block_steps(block, upto, branch) for block in blocks]), upto)


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
