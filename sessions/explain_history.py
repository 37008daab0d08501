"""The events that lead to the end of a branch, in order: its parents' up to where it left them, then its own."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from engine import events as ev
from engine import keyframe
from engine.state import State
from sessions.errors import SessionError
from sessions.event_log import event_row
from sessions.reader import Session

CHUNK: Final = 4_096
Progress = Callable[[int, int], None]  # events done, and of how many


def no_progress(_done: int, _total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Part:
    """A branch's share of a history: what it says of steps up to `last_step`, and before the next one."""

    branch: int
    last_step: int


class History:
    """What happened on `branch` of a session, up to the last step that ended; also the `TokenSource` of it."""

    def __init__(self, session: Session, branch: int = 0) -> None:
        self.session = session
        self.branch = branch
        self.parts = _parts(session, branch)
        self._tokens = lru_cache(maxsize=2_048)(self._read_tokens)

    @property
    def last_step(self) -> int:
        return self.parts[-1].last_step

    def arrival_step(self, request: str) -> int:
        """The step after which `request` arrived. Raises SessionError where there is none of that id."""
        for part in self.parts:
            try:
                return self.session.request(request, part.branch).submitted_step
            except SessionError:
                continue
        raise SessionError(f"{self.session.path} has no request {request}: `workbench sessions show` lists them")

    def state_before(self, step: int) -> State:
        """The state when nothing that carries `step` has been said: a copy, to fold on."""
        header = self.session.header
        if step <= 0:
            return State(header.num_blocks, header.options.block_size, header.options.eviction)
        part = next((part for part in self.parts if step - 1 <= part.last_step), self.parts[-1])
        return keyframe.unpack(keyframe.pack(self.session.state_at(step - 1, part.branch)))

    def events(self, first_step: int = 0, progress: Progress = no_progress) -> Iterator[ev.AnyEvent]:
        """Events that carry `first_step` or a later one, a chunk of them in memory at a time."""
        for part in self.parts:
            for event in self._events_of(part, first_step, progress):
                if event.branch == part.branch and first_step <= event.step <= part.last_step:
                    yield event

    def _events_of(self, part: Part, first_step: int, progress: Progress) -> Iterator[ev.AnyEvent]:
        """All events that may be of `part`, by their place in the file."""
        first = self.session.step_row(first_step, part.branch)
        after = self.session.step_row(part.last_step + 1, part.branch)
        seq, last = (first.first_seq if first else 1), (after.first_seq - 1 if after else self.session.last_seq)
        while seq <= last:
            for line in self.session.event_lines(seq, min(seq + CHUNK - 1, last)):
                yield event_row(seq, line).event
                seq += 1
            progress(min(seq, last), last)

    def tokens_of(self, request: str) -> Sequence[int]:
        """Prompt and output of `request`, as far as it got."""
        return self._tokens(request)

    def _read_tokens(self, request: str) -> Sequence[int]:
        ids: array[int] = array("i")
        for part in self.parts:
            if not ids:
                ids.extend(_prompt_ids(self.session, request, part.branch))
            rows = self.session.tokens(request, part.branch, len(ids)) if ids else []
            ids.extend(row.token for row in rows if row.chosen_step <= part.last_step)
        return ids


def _parts(session: Session, branch: int) -> tuple[Part, ...]:
    branches = {row.branch: row for row in session.branches}
    if branch not in branches:
        known = ", ".join(map(str, sorted(branches)))
        raise SessionError(f"{session.path} has no branch {branch}: use one of {known}")
    parts = [Part(branch, max(session.last_step(branch), branches[branch].parent_step or 0))]
    while (parent := branches[parts[0].branch].parent) is not None:
        parts.insert(0, Part(parent, branches[parts[0].branch].parent_step or 0))
    return tuple(parts)


def _prompt_ids(session: Session, request: str, branch: int) -> Sequence[int]:
    try:
        return session.prompt_ids(request, branch)
    except SessionError:
        return ()
