"""Events in, rows of every table out: the writer's own fold of the run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine import events as ev
from engine.details import TokenDetails, pack_step
from engine.state import State
from engine.timeline import Past
from engine.tokens import TokenLog
from sessions.block_changes import changes, given_up, taken
from sessions.branching import Before
from sessions.decisions import decision_row
from sessions.header import Header
from sessions.keyframes import KEYFRAME_EVERY, KeyframeWriter
from sessions.phases import Phases
from sessions.request_rows import Described, RequestRows
from sessions.rows import Rows
from sessions.step_rows import StepRows
from sessions.vocabulary import Vocabulary


class Ledger:
    """Folds what the engine says and adds to `rows`; the caller writes and clears them.

    A keyframe is taken of every `keyframe_every`-th event's state, wherever in a step that falls.
    """

    def __init__(
        self,
        header: Header,
        vocabulary: Vocabulary,
        keyframe_every: int = KEYFRAME_EVERY,
        seq: int = 0,
        pages: int = 0,
    ) -> None:
        """An empty engine's ledger, which goes on counting from event `seq` and keyframe page `pages`."""
        self.rows = Rows()
        self.past = Past(State.at_start(header.num_blocks, header.options), TokenLog())
        self.seq = seq
        self._branches: tuple[int, ...] = (0,)  # that lead here
        self._keyframe_every = keyframe_every
        self._phases = Phases(self.rows)
        self._steps = StepRows(self.rows, self.state, self._phases)
        self._requests = RequestRows(self.rows, vocabulary)
        self._keyframes = KeyframeWriter(self.rows, pages)

    @property
    def state(self) -> State:
        """The bookkeeping after everything that was taken."""
        return self.past.state

    def go_back(self, event: ev.Branched, before: Before) -> None:
        """Take the event that opens a branch; `before` is what the session says of the requests that live on."""
        self.seq += 1
        self.past = before.past
        self.state.apply(event)
        self._say(event)
        cause = f"rewind to step {event.step}"
        self.rows.add("branches", (event.branch, event.parent, event.step, cause))
        self._phases.resume(event.branch, before.phases, self.state)
        self._requests.resume(before.requests, self.state, before.outputs)
        for kind, rows in (("prompts", before.prompts), ("tokens", before.tokens)):
            self.rows.add_all(kind, ((event.branch, *row) for row in rows))
        self._branches = (*before.branches, event.branch)
        self._steps = StepRows(self.rows, self.state, self._phases)
        self._keyframes.take(self.state, self.seq)

    def take(self, events: Sequence[ev.Event], details: Sequence[TokenDetails] = ()) -> None:
        """Add the rows of `events` and of the `details` of their tokens."""
        described = {(about.request, about.position): about for about in details}
        for event in events:
            self.seq += 1
            self._take(event, described)
            if self.seq % self._keyframe_every == 0:
                self._keyframes.take(self.state, self.seq)
        if details:
            self.rows.add("candidate_rows", (events[-1].branch, events[-1].step, pack_step(details)))

    def close(self) -> None:
        """Add what is only known at the end: the text of unfinished requests."""
        self._requests.close()

    def _take(self, event: ev.Event, described: Described) -> None:
        released = given_up(self.state, event)
        batch = self.state.batch
        self.state.apply(event)
        self.past.tokens.apply(event)
        self._say(event)
        if isinstance(event, ev.Token):
            self._requests.token(event, described)
        elif isinstance(event, ev.Forked):
            self._phases.see(event)
            self._requests.forked(event, self.past.tokens.tokens_of(event.request), self._branches)
        elif isinstance(event, ev.Computed):
            self._computed(event)
        elif isinstance(event, ev.StepFailed):
            self._phases.failed(event, batch)
            self._requests.failed(event, batch)
        else:
            self._phases.see(event)
            self._requests.see(event)
        moved = [*released, *taken(self.state, event)]
        if moved:
            self.rows.add_all("blocks", map(msgspec.structs.astuple, changes(self.state, event, self.seq, moved)))
        self._steps.see(event, self.seq)

    def _say(self, event: ev.Event) -> None:
        line = ev.encode(event).decode()
        row = (self.seq, event.branch, event.step, ev.type_of(event), ev.request_in(event), line)
        self.rows.add("events", row)
        if decision := decision_row(self.seq, event):
            self.rows.add("decisions", decision)

    def _computed(self, event: ev.Computed) -> None:
        """The KV of output tokens among the computed positions is written now."""
        for work in event.batch:
            prompt = self.state.requests[work.request].prompt_tokens
            if work.stop > prompt:
                start = max(work.start, prompt)
                self.rows.add("computed", (event.step, event.branch, work.request, start, work.stop))
