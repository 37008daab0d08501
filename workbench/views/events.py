"""View 0, Events: everything, in order."""

from __future__ import annotations

import msgspec
from textual.app import ComposeResult

from sessions.event_log import EventFilter
from workbench.actions import Action
from workbench.astext import facts, heading, table
from workbench.bench import News, Scene
from workbench.dialogs import Ask
from workbench.view import Drop, View
from workbench.views.decisions import select_subject
from workbench.views.event_filter import FilterError, parse_filter, written
from workbench.views.event_rows import EventRows, event_facts
from workbench.widgets.messages import Activated, CursorMoved
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import DetailPane

EVERYTHING = EventFilter()
MOST_SENTENCES = 5_000  # to search for a text: data is searched by the database, sentences are made one by one


class EventsView(View):
    """The event log with a filter, and the event under the cursor as a sentence and as data."""

    view_name = "events"
    number = 0
    title = "Events"
    question = "everything, in order"
    help_text = (
        "Every change of the engine's bookkeeping is one of these events, and nothing else changes it: what all"
        " other views show is folded from them. Those of the step under the clock are marked."
        " Enter goes to the moment of an event and selects what it speaks of."
    )
    drops = (Drop("event", 0, 26),)

    def compose(self) -> ComposeResult:
        yield LineTable(id="log", classes="framed", empty="Nothing has happened yet.")
        yield DetailPane(id="event", classes="framed", empty="No event.")

    def on_mount(self) -> None:
        self._rows: EventRows | None = None
        self._wanted = EVERYTHING
        self.query_one("#event").border_title = "event"

    @property
    def log_pane(self) -> LineTable:
        return self.query_one("#log", LineTable)

    # -- showing -------------------------------------------------------------------------------------

    def show(self, scene: Scene, news: News) -> None:
        rows = self._rows
        if rows is None or rows.record is not scene.record or rows.wanted != self._wanted:
            rows = self._rows = EventRows(scene.record, self._wanted)
        elif news & News.RECORD:
            rows.refresh()
        rows.here = {row.seq for row in scene.moment.events}
        self._scan_on()
        self.log_pane.set_model(rows)
        if news & News.MOMENT:
            self._go_to_step(scene, rows)
        self._say_what_is_shown()
        self._show_event()

    def _go_to_step(self, scene: Scene, rows: EventRows) -> None:
        """Put the cursor on the moment's first event; at the live end, on the newest."""
        pane = self.log_pane
        if len(rows) and rows.changed(pane.cursor) and not scene.moment.live:
            return
        if scene.moment.live:
            pane.show_cursor(len(rows) - 1)
        elif (first := rows.first_of_step(scene.moment.step)) is not None:
            pane.show_cursor(rows.first_of_step(scene.moment.step + 1) or first)
            pane.show_cursor(first)

    def _scan_on(self) -> None:
        """Look on through the log, a part at a time, so that keys are answered in between."""
        if self._rows is not None and not self._rows.scan():
            self.call_later(self._scanned)

    def _scanned(self) -> None:
        if self._rows is not None and self.display:
            self.log_pane.items_changed()
            self._say_what_is_shown()
            self._scan_on()

    def _say_what_is_shown(self) -> None:
        assert self._rows is not None
        count, whole = len(self._rows), self._rows.record.event_count
        pane = self.log_pane
        pane.border_title = f"events: {written(self._wanted)}" if self._wanted != EVERYTHING else "events"
        looking = "" if self._rows.view.complete else ", looking on"
        pane.border_subtitle = f"{count:,} of {whole:,}{looking}" if self._wanted != EVERYTHING else f"{count:,}"

    def _show_event(self) -> None:
        pane, rows = self.query_one("#event", DetailPane), self._rows
        if rows is not None and len(rows):
            row = rows.event_row(self.log_pane.cursor)
            pane.border_title = f"event {row.seq:,}"
            pane.set_facts(event_facts(row, rows.record))
        else:
            pane.set_facts([])

    # -- what a person does --------------------------------------------------------------------------

    def on_cursor_moved(self, message: CursorMoved) -> None:
        if message.pane.id == "log":
            self._show_event()

    def on_activated(self, message: Activated) -> None:
        if message.pane.id == "log":
            self.go_there()

    def go_there(self) -> None:
        """Go to the moment of the event under the cursor, and select what it speaks of."""
        if self._rows is None or not len(self._rows):
            return
        event = self._rows.event_row(self.log_pane.cursor).event
        branch = self.scene.record.branch
        is_past = self.scene.branches.holds(branch, event.branch, event.step)
        self.bench.seek(event.step, branch if is_past else event.branch)
        self.bench.select(select_subject(event, self.scene.selection))

    def ask_filter(self) -> None:
        def apply(answer: str | None) -> None:
            try:
                self._filter(parse_filter(answer or ""))
            except FilterError as error:
                self.bench.say(str(error), problem=True)

        hint = "types, request=3, step=10-20, text; empty shows all"
        self.app.push_screen(Ask("show events ", hint, written(self._wanted)), apply)

    def only_this_step(self) -> None:
        step = self.scene.moment.step
        same = self._wanted.steps == (step, step)
        self._filter(msgspec.structs.replace(self._wanted, steps=None if same else (step, step)))

    def only_this_request(self) -> None:
        request = self.scene.selection.request
        same = self._wanted.request == request
        self._filter(msgspec.structs.replace(self._wanted, request=None if same else request))

    def back(self) -> bool:
        """Drop the filter."""
        if self._wanted == EVERYTHING:
            return False
        self._filter(EVERYTHING)
        return True

    def _filter(self, wanted: EventFilter) -> None:
        self._wanted = wanted
        self.show(self.scene, News.MOMENT)

    def search(self, wanted: str, direction: int) -> str:
        """Move to the next shown event that has `wanted` in its data or, near the cursor, in its sentence."""
        rows = self._rows
        if rows is None or not len(rows):
            return "there are no events to search"
        here = rows.event_row(self.log_pane.cursor).seq
        found = rows.record.events(msgspec.structs.replace(self._wanted, text=wanted)).scan_all()
        if not len(found):
            return self._search_sentences(rows, wanted.lower(), direction) or f"no event has {wanted!r}"
        at = found.row_of(here + 1) if direction > 0 else found.row_of(here) - 1
        row = found[at % len(found)]
        self.log_pane.move_to(rows.view.row_of(row.seq))
        return f"{len(found):,} events have {wanted!r}; this is event {row.seq:,}"

    def _search_sentences(self, rows: EventRows, wanted: str, direction: int) -> str:
        """Move to the next row whose sentence has `wanted`, among those nearest; "" when none has."""
        count = len(rows)
        for distance in range(1, min(count, MOST_SENTENCES) + 1):
            index = (self.log_pane.cursor + direction * distance) % count
            if wanted in rows.sentence(index).lower():
                self.log_pane.move_to(index)
                return f"event {rows.event_row(index).seq:,}"
        return ""

    # -- as text -------------------------------------------------------------------------------------

    def text(self, scene: Scene, width: int) -> str:
        rows = EventRows(scene.record, EventFilter(steps=(scene.moment.step, scene.moment.step)))
        rows.here = {row.seq for row in scene.moment.events}
        rows.view.scan_all()
        lines = [heading(f"events of step {scene.moment.step}", width), *table(rows, width)]
        if len(rows):
            lines += facts(event_facts(rows.event_row(0), scene.record), width)
        return "\n".join(lines)

    actions = (
        Action("events.filter", ("f",), "Filter events", "View", ask_filter, "filter"),
        Action("events.step", ("t",), "Only events of this step", "View", only_this_step, "this step"),
        Action(
            "events.request", ("r",), "Only events of the selected request", "View", only_this_request, "request"
        ),
    )


__all__ = ["EventsView"]
