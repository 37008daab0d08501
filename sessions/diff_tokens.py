"""The tokens of a session's requests, forks included, as far as they are asked for."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine import events as ev
from engine.ids import sibling_ids
from engine.tokens import Asked, TokenLog
from sessions.event_log import EventFilter
from sessions.reader import Session
from sessions.records import RequestRow


@dataclass(slots=True)
class RequestLog:
    """The requests that have been read, forks included: all their tokens, from first to last."""

    session: Session
    branch: int
    log: TokenLog = field(default_factory=TokenLog)
    _forks: dict[str, ev.Forked] | None = None

    def read(self, requests: Iterable[str]) -> None:
        """Know these requests, and the samples that share a prefill with them."""
        for request in requests:
            if request not in self.log:
                for sample in family(self.session.request(request, self.branch)):
                    self._add(sample)

    def tokens_of(self, request: str) -> Sequence[int]:
        """Prompt and output of `request`. Raises SessionError where there is none of that id."""
        self.read([request])
        return self.log.tokens_of(request)

    def _add(self, request: str) -> None:
        row, fork = self.session.request(request, self.branch), self._all_forks().get(request)
        ids = self._begun(request, fork)
        ids.extend(each.token for each in self.session.tokens(request, self.branch, len(ids)))
        intervened = None if fork is None else fork.intervened
        self.log.add(request, ids, Asked(row.prompt_tokens, row.sampling, row.sample, row.priority, intervened))

    def _begun(self, request: str, fork: ev.Forked | None) -> array[int]:
        """What `request` had when it arrived."""
        if fork is None:
            return array("i", self.session.prompt_ids(request, self.branch))
        self.read([fork.parent])
        return array("i", [*self.log.tokens_of(fork.parent)[: fork.at_position], *fork.appended])

    def _all_forks(self) -> dict[str, ev.Forked]:
        if self._forks is None:
            found = self.session.events(EventFilter(types=frozenset({"forked"}))).scan_all()
            events = (row.event for row in found.rows(0, len(found)))
            self._forks = {
                event.request: event for event in events if isinstance(event, ev.Forked) and self._ours(event)
            }
        return self._forks

    def _ours(self, event: ev.Forked) -> bool:
        """Whether it was said on the way to this branch: elsewhere its id may be that of another request."""
        parts = self.session.lineage(self.branch).segments
        return any(part.branch == event.branch and event.step <= part.last_step for part in parts)


def family(row: RequestRow) -> list[str]:
    """The ids of all samples of a request that has several, or its own."""
    return list(sibling_ids(row.request, row.samples)) if row.samples > 1 else [row.request]
