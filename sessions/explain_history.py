"""The events that lead to the end of a branch, in order: its parents' up to where it left them, then its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from engine import events as ev
from engine import keyframe
from engine.state import State
from sessions.errors import SessionError
from sessions.event_log import event_row
from sessions.lineage import Segment
from sessions.reader import Session

CHUNK: Final = 4_096
Progress = Callable[[int, int], None]  # events done, and of how many


def no_progress(_done: int, _total: int) -> None:
    """Nobody watches."""


class History:
    """What happened on `branch` of a session, up to the last step that ended; also the `TokenSource` of it.

    Raises SessionError where there is no such branch.
    """

    def __init__(self, session: Session, branch: int = 0) -> None:
        if branch not in (known := [row.branch for row in session.branches]):
            raise SessionError(f"{session.path} has no branch {branch}: use one of {', '.join(map(str, known))}")
        self.session = session
        self.branch = branch
        self.last_step = session.last_step(branch)
        self._tokens = lru_cache(maxsize=2_048)(session.tokens_of)

    def arrival_step(self, request: str) -> int:
        """The step after which `request` arrived. Raises SessionError where there is none of that id."""
        try:
            return self.session.request(request, self.branch).submitted_step
        except SessionError as error:
            raise SessionError(f"{error}: `workbench sessions show` lists them") from error

    def state_before(self, step: int) -> State:
        """The state when nothing that carries `step` has been said: a copy, to fold on."""
        if step <= 0:
            return State.at_start(self.session.header.num_blocks, self.session.header.options)
        return keyframe.unpack(keyframe.pack(self.session.state_at(step - 1, self.branch)))

    def events(self, first_step: int = 0, progress: Progress = no_progress) -> Iterator[ev.AnyEvent]:
        """Events that carry `first_step` or a later one, a chunk of them in memory at a time."""
        for part in self.session.lineage(self.branch).between(first_step, self.last_step):
            for event in self._said_in(part, progress):
                if event.branch == part.branch and part.first_step <= event.step <= part.last_step:
                    yield event

    def _said_in(self, part: Segment, progress: Progress) -> Iterator[ev.AnyEvent]:
        """All that may be of `part`, by its place in the file: a branch grows without a break."""
        first = self.session.step_row(part.first_step, part.branch)
        after = self.session.step_row(part.last_step + 1, part.branch)
        seq, last = (first.first_seq if first else 1), (after.first_seq - 1 if after else self.session.last_seq)
        while seq <= last:
            for line in self.session.event_lines(seq, min(seq + CHUNK - 1, last)):
                yield event_row(seq, line).event
                seq += 1
            progress(min(seq, last), last)

    def tokens_of(self, request: str) -> Sequence[int]:
        """Prompt and output of `request`, as far as it got."""
        return self._tokens(request, self.branch)
