"""Lanes: who waits, runs, was preempted and has ended at a moment, each with its standing reason."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from engine import events as ev
from engine.state import Request, RequestState
from engine.wording import plural, why
from sessions.records import RequestRow
from workbench.bench import Scene
from workbench.views.request_column import request_column
from workbench.views.scheduler_decisions import comparison
from workbench.widgets.columns import Column
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Bar, Line, Span

MOST_FINISHED = 500


class Lane:
    """Requests of one state as rows; subclasses write a row."""

    name: str
    ink: Ink
    details: Sequence[Column]  # what stands beside a request's id

    def __init__(self, scene: Scene, requests: Sequence[str]) -> None:
        self.requests = requests
        self.columns: Sequence[Column] = (request_column(requests), *self.details)
        self._scene = scene
        self._moment = scene.moment

    def __len__(self) -> int:
        return len(self.requests)

    def changed(self, index: int) -> bool:
        return self.requests[index] in self._moment.changes.moved

    def index_of(self, request: str | None) -> int | None:
        return self.requests.index(request) if request in self.requests else None

    @property
    def title(self) -> str:
        """The name and the count."""
        return f"{self.name} {len(self):,}"

    def row(self, index: int) -> Sequence[Line]:
        live = self._moment.live_request(self.requests[index])
        return self._row(live) if live else [""] * len(self.columns)  # a state may be folded on before a paint

    def _row(self, live: Request) -> Sequence[Line]:
        raise NotImplementedError

    def _why(self, request: Request) -> Line:
        """Why it is not scheduled: the comparison that decided, then words; "" when it is."""
        if request.wait is None:
            return ""
        numbers = comparison(request.wait)
        words = why(request.wait, self._scene.record.token_text)
        return [Span(f"{numbers}  ", "warn"), Span(words, "dim")] if numbers else Span(words)


class Waiting(Lane):
    """In the order of service, with how many steps each has waited."""

    name = "waiting"
    ink: Ink = "waiting"
    details = (Column("steps", 5, "right", 1), Column("why", least=10))

    def _row(self, live: Request) -> Sequence[Line]:
        waited = self._moment.step - live.state_step
        return live.id, Span(f"{waited:,}", "dim"), self._why(live)


class Running(Lane):
    """What each computes in this step, and how far it is."""

    name = "running"
    ink: Ink = "decode"
    details = (
        Column("in this step", least=12),
        Column("done", 8, "right", 2),
        Column("", 6, priority=3),
    )

    def _row(self, live: Request) -> Sequence[Line]:
        work = self._moment.changes.scheduled.get(live.id)
        prefilling = live.state is RequestState.PREFILLING
        ink: Ink = "prefill" if prefilling else "decode"
        if work is None:
            doing: Line = self._why(live) or Span("joins the next batch", "dim")
        elif work.phase == "decode":
            doing = Span("decode", "decode")
        elif work.phase == "verify":
            doing = Span(f"verify {work.tokens - 1:,}", "decode")
        else:
            doing = Span(f"prefill {work.tokens:,} from {work.start:,}", "prefill")
        part, whole = (
            (live.computed, live.num_tokens) if prefilling else (live.output_tokens, live.params.max_tokens)
        )
        return live.id, doing, Span(f"{part:,}/{whole:,}", "dim"), Bar(part / max(1, whole), ink)


class Preempted(Lane):
    """Who lost its blocks and waits to resume."""

    name = "preempted"
    ink: Ink = "preempted"
    details = (Column("steps", 5, "right", 1), Column("why", least=10))

    def _row(self, live: Request) -> Sequence[Line]:
        waited = self._moment.step - live.state_step
        reason = self._why(live) or self._cut(live) or f"{plural(live.num_tokens, 'token')} to hold again"
        return live.id, Span(f"{waited:,}", "dim"), reason

    def _cut(self, request: Request) -> Line:
        """Why it was preempted, in the step that did it."""
        for decision in self._moment.decisions:
            if isinstance(decision.event, ev.Preempted) and decision.request == request.id:
                reason = decision.event.reason
                words = why(reason, self._scene.record.token_text)
                return [Span(f"{comparison(reason)}  ", "warn"), Span(words, "dim")]
        return ""


class Finished(Lane):
    """The latest to end first."""

    name = "finished"
    ink: Ink = "finished"
    details = (
        Column("step", 5, "right", 2),
        Column("because", least=8),
        Column("out", 4, "right", 1),
    )

    def __init__(self, scene: Scene, rows: Sequence[RequestRow], count: int) -> None:
        super().__init__(scene, [row.request for row in rows])
        self._rows = rows
        self._count = count

    @property
    def title(self) -> str:
        left_out = f", the last {len(self):,}" if len(self) < self._count else ""
        return f"{self.name} {self._count:,}{left_out}"

    def row(self, index: int) -> Sequence[Line]:
        row = self._rows[index]
        bad = row.finish_reason in ("error", "abort")
        because = (row.finish_detail or row.finish_reason or "ended").replace("_", " ")
        step = "" if row.finished_step is None else f"{row.finished_step:,}"
        return (
            Span(row.request, "dim"),
            Span(step, "dim"),
            Span(because, "bad" if bad else "finished"),
            Span(f"{row.output_tokens:,}", "dim"),
        )


def lanes_of(scene: Scene) -> tuple[Waiting, Running, Preempted, Finished]:
    """The four lanes of a moment."""
    state = scene.moment.state
    queue = [(id_, state.requests[id_].state) for _, id_ in state.waiting]
    arrived = scene.moment.arrived
    gone = (row for row in reversed(arrived) if row.request not in state.requests)
    ended = sorted(islice(gone, MOST_FINISHED), key=lambda row: -(row.finished_step or 0))
    return (
        Waiting(scene, [id_ for id_, kind in queue if kind is RequestState.WAITING]),
        Running(scene, list(state.running)),
        Preempted(scene, [id_ for id_, kind in queue if kind is RequestState.PREEMPTED]),
        Finished(scene, ended, len(arrived) - len(state.requests)),
    )


__all__ = ["Finished", "Lane", "Preempted", "Running", "Waiting", "lanes_of"]
