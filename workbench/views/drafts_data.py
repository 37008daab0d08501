"""What is known of a request's drafts: its rounds as far as they were read, away from the screen."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable

from sessions.draft_rounds import Round, rounds_of
from sessions.draft_tally import Tally
from sessions.errors import SessionError
from sessions.reader import Session
from workbench.bench import Scene

BETWEEN_S = 0.2
MOST_AT_ONCE = 64
"""Rounds that are read before the screen goes on; a request's others follow on a worker's thread."""


class DraftRounds:
    """The rounds of one request on one branch; `read` goes on where it stopped, from any one thread."""

    def __init__(self, session: Session, request: str, branch: int) -> None:
        row = session.request(request, branch)
        self.request, self.branch = request, branch
        self.greedy = row.sampling.greedy
        self.prompt_tokens = row.prompt_tokens
        self.tally = Tally(self.greedy)
        self.complete = False
        self._starts: list[int] = []
        self._stopped = False

    @property
    def rounds(self) -> list[Round]:
        return self.tally.rounds

    @property
    def stop_position(self) -> int:
        """The position after the last token that was read."""
        return self.rounds[-1].stop if self.rounds else self.prompt_tokens + 1

    def read(self, session: Session, most: int | None = None) -> None:
        """Read what was recorded since, at most so many rounds."""
        fresh = rounds_of(session, self.request, self.branch, self.stop_position)
        for number, one in enumerate(fresh):
            if self._stopped or number == most:
                return
            self.tally.add(one)
            self._starts.append(one.position)
        self.complete = True

    def read_all(self, session: Session, grew: Callable[[], object]) -> None:
        """On a worker's thread, with a session of its own; `grew` is called now and then, and at the end."""
        try:
            with session.reopen() as own:
                while not self.complete and not self._stopped:
                    began = time.monotonic()
                    while not self.complete and time.monotonic() - began < BETWEEN_S and not self._stopped:
                        self.read(own, MOST_AT_ONCE)
                    if not self._stopped:
                        grew()
        except SessionError:
            return  # the file is damaged or gone: what was read stays

    def end(self) -> None:
        """Read no further."""
        self._stopped = True

    def round_at(self, position: int) -> int | None:
        """The index of the round that gave the token at `position`."""
        index = bisect_right(self._starts, position) - 1
        return index if index >= 0 and position < self.rounds[index].stop else None


def has_drafts(scene: Scene) -> bool:
    """Whether anything was drafted up to this moment."""
    return scene.moment.state.totals.drafted_tokens > 0


__all__ = ["MOST_AT_ONCE", "DraftRounds", "has_drafts"]
