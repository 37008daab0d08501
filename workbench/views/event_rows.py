"""EventRows: the event log as a table, filtered or not; only rows on the screen are read."""

from __future__ import annotations

from collections.abc import Sequence, Set

import msgspec

from engine.events import type_of
from engine.wording import sentence
from sessions.event_log import EventFilter, EventView
from sessions.records import EventRow
from workbench.record import Record
from workbench.views.decisions import INKS
from workbench.widgets.columns import Column
from workbench.widgets.spans import Line, Span
from workbench.widgets.textpane import Fact

PAGE = 128


class EventRows:
    """Rows of the log that pass a filter. `here` are the events of the moment: their rows count as changed."""

    columns: Sequence[Column] = (
        Column("event", 8, "right", 2),
        Column("step", 7, "right"),
        Column("type", 14, priority=1),
        Column("what happened", least=20),
    )

    def __init__(self, record: Record, wanted: EventFilter) -> None:
        self.record = record
        self.wanted = wanted
        self.here: Set[int] = frozenset()  # seqs
        self._several = len(record.session.branches) > 1
        self.view: EventView = record.events(None if wanted == EventFilter() else wanted)
        self._pages: dict[int, Sequence[EventRow]] = {}

    def __len__(self) -> int:
        return len(self.view)

    def refresh(self) -> None:
        """Take in what was recorded since."""
        self.view.refresh()
        self._several = len(self.record.session.branches) > 1
        self._pages.pop(max(self._pages, default=0), None)

    def scan(self) -> bool:
        """Look for matching rows a little further; whether all of the log was looked at."""
        done = self.view.scan()
        self._pages.pop(max(self._pages, default=0), None)
        return done

    def event_row(self, index: int) -> EventRow:
        page = index // PAGE
        if page not in self._pages:
            if len(self._pages) > 64:
                self._pages.clear()
            self._pages[page] = self.view.rows(page * PAGE, (page + 1) * PAGE)
        return self._pages[page][index % PAGE]

    def row(self, index: int) -> Sequence[Line]:
        row = self.event_row(index)
        ink = INKS.get(type(row.event), "text")
        words = self.sentence(index)
        return (
            Span(f"{row.seq:,}", "faint"), Span(self._when(row), "dim"), Span(type_of(row.event), ink),
            Span(words, "strong" if row.seq in self.here else "text"),
        )  # fmt: skip

    def _when(self, row: EventRow) -> str:
        """The step; with the branch in front, where there are several."""
        branch = f"{row.event.branch}:" if self._several else ""
        return f"{branch}{row.event.step:,}"

    def sentence(self, index: int) -> str:
        """What happened, in words."""
        return sentence(self.event_row(index).event, self.record.token_text)

    def changed(self, index: int) -> bool:
        return self.event_row(index).seq in self.here

    def first_of_step(self, step: int) -> int | None:
        """The row of the first event of `step` of the branch, or after it; None when there are no rows."""
        count, events = len(self), self.record.events_of(step)
        row = self.view.row_of(events[0].seq) if events else count - 1
        return min(row, count - 1) if count else None


def event_facts(row: EventRow, record: Record) -> list[Fact]:
    """An event as a sentence and as data."""
    event = row.event
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    data = [Fact(name, _written(value)) for name, value in fields.items()]
    return [Fact("in words", sentence(event, record.token_text)), Fact("type", type_of(event)), *data]


def _written(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 2_000 else f"{text[:2_000]}… ({len(text):,} characters)"


__all__ = ["EventRows", "event_facts"]
