"""What the beam searches of a recorded run came to: their outputs with their scores, best first."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine import events as ev
from engine.wording.beams import SEARCH_ENDS
from sessions.event_log import EventFilter
from sessions.reader import Session
from workbench.cli.console import print_table


class SearchOutput(msgspec.Struct, frozen=True):
    """An output of a search: request `id`, and the score by which outputs are compared."""

    id: str
    score: float


class SearchResult(msgspec.Struct, frozen=True):
    """The search that request `id` began, and why it was over. `best` are its outputs, best first."""

    id: str
    why: ev.SearchEnd
    best: tuple[SearchOutput, ...]


def read_searches(session: Session, branch: int) -> tuple[SearchResult, ...]:
    """The searches that are over at the end of `branch`, each by its latest end on the way there."""
    found: dict[str, SearchResult] = {}
    if all(row.sampling.beams == 1 for row in session.requests(branch)):
        return ()
    rows = session.events(EventFilter(types=frozenset({"beams_ended"}))).scan_all()
    way = session.lineage(branch)
    for row in rows.rows(0, len(rows)):
        event = row.event
        assert isinstance(event, ev.BeamsEnded)
        if way.owner(event.step) == event.branch:
            best = tuple(SearchOutput(each.request, each.score) for each in event.best)
            found[event.request] = SearchResult(event.request, event.why, best)
    return tuple(found.values())


def print_searches(searches: Sequence[SearchResult], texts: dict[str, str]) -> None:
    """A table for each search, with what its outputs say, and why it ended."""
    for search in searches:
        print(f"\nsearch {search.id}: {SEARCH_ENDS[search.why]}")
        rows = [(each.id, f"{each.score:.4f}", texts.get(each.id, "")) for each in search.best]
        print_table(("request", "score", "text"), rows, [1])
