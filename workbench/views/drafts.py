"""The part of view 8 about speculative decoding: the drafts of the selected request."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from textual import on

from workbench import astext
from workbench.bench import Scene
from workbench.views.drafts_data import MOST_AT_ONCE, DraftRounds
from workbench.views.drafts_panes import DraftPanes
from workbench.views.drafts_tables import DraftLanes, LedgerRows, PlaceRows
from workbench.views.drafts_words import draft_facts
from workbench.widgets.messages import Activated, CursorMoved

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


class DraftsPart(DraftPanes):
    """Reads the rounds of the selected request, a few at once and the rest away from the screen."""

    def __init__(self) -> None:
        super().__init__()
        self.found: DraftRounds | None = None
        self._of: object = None
        self._last_step = -1
        self._reading = False

    def on_unmount(self) -> None:
        self._end()

    @property
    def _app(self) -> WorkbenchApp:
        return cast("WorkbenchApp", self.app)

    # Showing

    def show(self, scene: Scene) -> None:
        record, request = scene.record, scene.selection.request
        if request is None or record.request(request) is None:
            self._end()
            self.found, self._of = None, None
            self.facts.empty = "No request is selected: 1 goes to the overview, choose one there."
            self.facts.set_lines([])
            return
        of = (record.path, record.branch, request)
        if of != self._of:
            self._end()
            self._of, self.found, self._last_step = of, DraftRounds(record.session, request, record.branch), -1
        assert self.found is not None
        if record.last_step != self._last_step and not self._reading:
            self._last_step = record.last_step
            self._read(scene, self.found)
        self._fill(scene, self.found)

    def _read(self, scene: Scene, found: DraftRounds) -> None:
        """Take in what was recorded since: here, unless it is much."""
        found.complete = False
        found.read(scene.record.session, MOST_AT_ONCE)
        if not found.complete:
            self._reading = True
            grew = partial(self.app.call_from_thread, self._grew, found)
            work = partial(found.read_all, scene.record.session, grew)
            self.run_worker(work, name="drafts", thread=True, exit_on_error=False)

    def _grew(self, found: DraftRounds) -> None:
        if found is not self.found or not self.is_mounted:
            return
        self._reading = not found.complete
        if self.display and self._app.desk is not None:
            self._fill(self._app.scene, found)

    def _end(self) -> None:
        self._reading = False
        if self.found is not None:
            self.found.end()

    def _fill(self, scene: Scene, found: DraftRounds) -> None:
        self.fill_rounds(found, scene)
        if not found.rounds:
            self.ledger.set_model(None)
            return
        position = shown_position(scene, found)
        index = found.round_at(position)
        assert index is not None
        lanes = self.lanes.model
        assert isinstance(lanes, DraftLanes)
        self.lanes.show_cursor(position - lanes.first)
        self.course.show_cursor(index)
        self.show_round(found.rounds[index], position, scene)

    # Moving

    def _select(self, position: int) -> None:
        self._app.select(replace(self._app.scene.selection, position=position))

    @on(CursorMoved, "#drafts-lanes")
    def _token_moved(self, message: CursorMoved) -> None:
        message.stop()
        if isinstance(lanes := self.lanes.model, DraftLanes):
            self._select(lanes.first + message.index)

    @on(CursorMoved, "#drafts-course")
    def _round_moved(self, message: CursorMoved) -> None:
        message.stop()
        if self.found is not None and message.index < len(self.found.rounds):
            self._select(self.found.rounds[message.index].position)

    @on(CursorMoved, "#drafts-ledger")
    def _draft_moved(self, message: CursorMoved) -> None:
        message.stop()
        self.show_draw(self._app.scene)

    @on(CursorMoved, "#drafts-draw, #drafts-residual, #drafts-places, #drafts-facts")
    def _nothing_follows(self, message: CursorMoved) -> None:
        message.stop()

    @on(Activated, "#drafts-lanes")
    def _token_activated(self, message: Activated) -> None:
        """Go to the step that gave the token."""
        message.stop()
        if (step := self._app.scene.selection.step) is not None:
            self._app.seek(step)

    def find(self, wanted: str, direction: int) -> str:
        """Select the next token that has `wanted` in it."""
        lanes = self.lanes.model
        if not isinstance(lanes, DraftLanes) or not len(lanes):
            return "there is no text to search"
        for step in range(1, len(lanes)):
            index = (self.lanes.cursor + direction * step) % len(lanes)
            if wanted in lanes.lane(index).above:
                self._select(lanes.first + index)
                return f"{wanted!r} at position {lanes.first + index}"
        return f"there is no token with {wanted!r}"


def drafts_text(scene: Scene, width: int) -> str:
    """The drafts of the selected request as text: what they came to, and the pass behind the selected token."""
    request = scene.selection.request
    if request is None or scene.record.request(request) is None:
        return "No request is selected."
    found = DraftRounds(scene.record.session, request, scene.record.branch)
    found.read(scene.record.session)
    lines = [astext.heading("speculative decoding", width), *astext.paragraphs(draft_facts(found), width)]
    if found.tally.places:
        lines.append(astext.heading("acceptance by place in the draft", width))
        lines += astext.table(PlaceRows(found.tally.places), width)
    index = None if not found.rounds else found.round_at(shown_position(scene, found))
    if index is not None and found.rounds[index].verified is not None:
        one = found.rounds[index]
        lines.append(astext.heading(f"pass of step {one.step:,}", width))
        lines += astext.table(LedgerRows(one, scene.record.token_text), width)
    return "\n".join(lines)


def shown_position(scene: Scene, found: DraftRounds) -> int:
    """The selected position as far as it has a round, else the first of the newest drafts."""
    first, stop = found.rounds[0].position, found.stop_position
    at = scene.selection.position
    if at is not None and first <= at < stop:
        return at
    newest = next((one for one in reversed(found.rounds) if one.verified is not None), found.rounds[-1])
    return newest.position


__all__ = ["DraftsPart", "drafts_text"]
