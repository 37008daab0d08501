"""View 6, Scheduler: why now, why not?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from engine.wording import batch_words
from workbench.actions import Action
from workbench.astext import heading, paragraphs, table
from workbench.bench import News, Scene
from workbench.record import Record
from workbench.view import Drop, View
from workbench.views.decisions import Told, select_subject
from workbench.views.scheduler_decisions import OPENS, decision_line, not_shown, nothing_decided, told_in
from workbench.views.scheduler_gantt import RequestLanes
from workbench.views.scheduler_lanes import Lane, lanes_of
from workbench.views.scheduler_series import StepColumns, series_of
from workbench.views.scheduler_text import gantt_lines
from workbench.widgets.gantt import Gantt
from workbench.widgets.messages import Activated, CellMoved, CursorMoved, Zoomed
from workbench.widgets.spans import Line, plain
from workbench.widgets.sparkline import StepChart
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import TextPane

NARROW = 100
LANES = ("waiting", "running", "preempted", "finished")
EMPTY = {
    "waiting": "Nobody waits.",
    "running": "Nothing runs.",
    "preempted": "Nobody was preempted.",
    "finished": "None has ended.",
}


class SchedulerView(View):
    """Queues with their reasons, requests by steps, the load over time, and the decisions of the step."""

    view_name = "scheduler"
    number = 6
    title = "Scheduler"
    question = "why now, why not?"
    help_text = (
        "Every step, the scheduler fills a batch under the token budget: running requests first, then waiting"
        " ones while budget and blocks last. Whoever is left out has a reason, with the numbers that decided."
        " Enter on a decision selects what it speaks of; enter again, or v, opens the view that shows it."
    )
    drops = (Drop("scheduler-chart", 0, 28), Drop("scheduler-finished", NARROW))

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._record: Record | None = None
        self._lanes: RequestLanes | None = None
        self._columns: StepColumns | None = None
        self._told: Sequence[Told] = ()
        self._step: int | None = None

    def compose(self) -> ComposeResult:
        with Horizontal(id="scheduler-lanes"):
            for name in LANES:
                yield LineTable(id=f"scheduler-{name}", classes="framed", empty=EMPTY[name])
        with Horizontal(id="scheduler-middle"):
            with Vertical(id="scheduler-time"):
                yield Gantt(id="scheduler-gantt", classes="framed", empty="No request yet: p submits a prompt.")
                yield StepChart(id="scheduler-chart", classes="framed")
            yield TextPane(id="scheduler-decisions", classes="framed", selectable=True)

    def on_mount(self) -> None:
        self.query_one("#scheduler-gantt").border_title = "requests by steps"
        self.query_one("#scheduler-chart").border_title = "load by steps"
        self.query_one("#scheduler-decisions").border_title = "decisions"

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.set_class(event.size.width < NARROW, "-narrow")

    @property
    def gantt(self) -> Gantt:
        return self.query_one("#scheduler-gantt", Gantt)

    @property
    def chart(self) -> StepChart:
        return self.query_one("#scheduler-chart", StepChart)

    @property
    def decisions(self) -> TextPane:
        return self.query_one("#scheduler-decisions", TextPane)

    # -- showing -------------------------------------------------------------------------------------

    def show(self, scene: Scene, news: News) -> None:
        if not news & (News.MOMENT | News.SELECTION | News.RECORD):
            return
        self._show_lanes(scene)
        self._show_time(scene, news)
        if news & News.MOMENT:
            self._show_decisions(scene)

    def _show_lanes(self, scene: Scene) -> None:
        for lane in lanes_of(scene):
            pane = self.query_one(f"#scheduler-{lane.name}", LineTable)
            pane.set_model(lane)
            pane.border_title = lane.title
            row = lane.index_of(scene.selection.request)
            pane.quiet = row is None
            if row is not None:
                pane.show_cursor(row)

    def _show_time(self, scene: Scene, news: News) -> None:
        if self._record is not scene.record or self._columns is None:
            self._record, self._columns = scene.record, StepColumns(scene.record)
            self._lanes = None
        if self._lanes is None:
            self._lanes = RequestLanes(scene.record)
        elif news & News.RECORD:
            self._lanes.grow()
            self._columns.grow()
        self._lanes.moved = scene.moment.changes.moved
        gantt, lanes = self.gantt, self._lanes
        step = self._cursor_step(scene, news)
        gantt.now = scene.moment.step
        gantt.set_model(lanes)
        lane = lanes.lane_of(scene.selection.request)
        gantt.show_cell(gantt.row if lane is None else lane, step)
        gantt.border_subtitle = self._said_of_time(scene, step)
        self._show_chart(scene.record, step)

    def _cursor_step(self, scene: Scene, news: News) -> int:
        """The clock's step when it moved, the selected one when that was chosen."""
        chosen, before = scene.selection.step, self._step
        self._step = chosen
        if news & News.MOMENT or (chosen is None and before is not None):
            return scene.moment.step
        return chosen if chosen is not None and chosen != before else self.gantt.column

    @staticmethod
    def _said_of_time(scene: Scene, step: int) -> str:
        return "" if step == scene.moment.step else f"enter goes to step {step}"

    def _show_chart(self, record: Record, step: int) -> None:
        assert self._columns is not None
        gantt, chart = self.gantt, self.chart
        track = gantt.track
        complete = self._columns.read(track.first, track.first + track.steps)
        chart.set_series(series_of(self._columns, record), zoom=gantt.zoom, first=track.first)
        chart.show_cursor(step)
        chart.border_subtitle = "" if complete else "reading on"
        if not complete:
            self.call_later(self._read_on)

    def _read_on(self) -> None:
        if self._record is not None and self.display:
            self._show_chart(self._record, self.chart.cursor)

    def _show_decisions(self, scene: Scene) -> None:
        pane = self.decisions
        self._told = told_in(scene)
        pane.set_lines(decision_lines(scene, self._told))
        pane.show_cursor(0)
        pane.border_title = f"step {scene.moment.step}: {batch_title(scene)}"
        pane.border_subtitle = "enter selects, v opens the view"

    # -- what a person does --------------------------------------------------------------------------

    def on_cursor_moved(self, message: CursorMoved) -> None:
        model = getattr(message.pane, "model", None)
        if isinstance(model, Lane):
            self.bench.select(replace(self.scene.selection, request=model.requests[message.index]))
        elif message.pane is self.chart:
            self._choose(self.gantt.row, message.index)

    def on_cell_moved(self, message: CellMoved) -> None:
        if message.pane is self.gantt:
            self._choose(message.row, message.column)

    def _choose(self, lane: int, step: int) -> None:
        """Select a request and a step; the clock stays until enter."""
        if self._lanes is not None and len(self._lanes):
            chosen = replace(self.scene.selection, request=self._lanes.request(lane), position=None)
            self.bench.select(chosen)
            self.bench.select(replace(self.scene.selection, step=step))

    def on_zoomed(self, message: Zoomed) -> None:
        if message.pane is self.gantt and self._record is not None:
            self._show_chart(self._record, self.gantt.column)

    def on_activated(self, message: Activated) -> None:
        if message.pane is self.gantt or message.pane is self.chart:
            self.bench.seek(self.gantt.column)
        elif message.pane is self.decisions:
            self._take(self.decisions.cursor)
        elif isinstance(pane := message.pane, LineTable) and isinstance(lane := pane.model, Lane):
            self.bench.select(replace(self.scene.selection, request=lane.requests[pane.cursor]))
            self.bench.open_view("tokens")

    def _take(self, row: int) -> None:
        """Select what a decision speaks of; once it is selected, open the view that shows it."""
        told = self._told_at(row)
        if told is None:
            return
        before = self.scene.selection
        if told.step != self.scene.moment.step:
            self.bench.seek(told.step)
        self.bench.select(select_subject(told.event, self.scene.selection))
        if self.scene.selection == before:
            self.bench.open_view(OPENS.get(type(told.event), "overview"))

    def open_decision(self) -> None:
        """Select what the decision under the cursor speaks of, and open the view that shows it."""
        told = self._told_at(self.decisions.cursor)
        if told is None:
            return
        if told.step != self.scene.moment.step:
            self.bench.seek(told.step)
        self.bench.select(select_subject(told.event, self.scene.selection))
        self.bench.open_view(OPENS.get(type(told.event), "overview"))

    def _told_at(self, row: int) -> Told | None:
        """The decision on a line; the first line may be a remark."""
        first = bool(self._told) and self._told[0].step == self.scene.moment.step
        at = row if first else row - 1
        return self._told[at] if 0 <= at < len(self._told) else None

    def why_no_decision(self) -> str | None:
        return None if self._told else "nothing was decided in this step or shortly before"

    def search(self, wanted: str, direction: int) -> str:
        """Select the next request of that number, or the next decision that says it."""
        if self._lanes is not None and self._lanes.lane_of(wanted) is not None:
            self.bench.select(replace(self.scene.selection, request=wanted))
            return f"request {wanted}"
        count = len(self.decisions.lines)
        for distance in range(1, count + 1):
            row = (self.decisions.cursor + direction * distance) % count
            if wanted in plain(self.decisions.lines[row]):
                self.decisions.move_to(row)
                return f"{wanted!r} in a decision of this step or before"
        return f"no request is called {wanted!r}, and no decision shown has it"

    # -- as text -------------------------------------------------------------------------------------

    def text(self, scene: Scene, width: int) -> str:
        lines: list[str] = []
        for lane in lanes_of(scene):
            lines += [heading(lane.title, width), *(table(lane, width) if len(lane) else [EMPTY[lane.name]])]
        lines += [heading("requests by steps", width), *gantt_lines(scene, width)]
        lines.append(heading(f"step {scene.moment.step}: {batch_title(scene)}", width))
        return "\n".join([*lines, *paragraphs(decision_lines(scene, told_in(scene)), width)])

    actions = (
        Action(
            "scheduler.open", ("v",), "Open the view of the decision under the cursor", "Go", open_decision,
            "open", why_no_decision, "Evictions and matches open Radix, room for blocks opens Blocks.",
        ),
    )  # fmt: skip


def batch_title(scene: Scene) -> str:
    """The batch in words, and how much of the budget it took."""
    used = sum(work.tokens for work in scene.moment.batch)
    return f"{batch_words(scene.moment.batch)}, {used} of {scene.moment.budget} tokens"


def decision_lines(scene: Scene, told: Sequence[Told]) -> list[Line]:
    """The step's decisions, or that there were none, then those before it."""
    lines = [decision_line(each, told, scene) for each in told]
    if not told or told[0].step != scene.moment.step:
        return [nothing_decided(scene), *lines]
    more = not_shown(scene)
    return lines if more is None else [*lines, more]


__all__ = ["SchedulerView"]
