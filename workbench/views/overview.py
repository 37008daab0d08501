"""View 1, Overview: what is this engine doing?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message

from engine.wording import batch_words
from sessions.records import RequestRow
from workbench.astext import heading, paragraphs, table
from workbench.bench import News, Scene
from workbench.view import Drop, View
from workbench.views.decisions import Told, line_of, select_subject, told_until
from workbench.views.fork_text import origin_of
from workbench.views.pool import PoolMap
from workbench.views.request_table import RequestTable
from workbench.views.request_text import RequestText
from workbench.widgets.bars import Part
from workbench.widgets.blockmap import BlockMap
from workbench.widgets.budgetbar import BudgetBar
from workbench.widgets.messages import Activated, CursorMoved
from workbench.widgets.spans import Line
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import TextPane
from workbench.widgets.tokentext import TokenText

DECISIONS = 24


class RequestPane(LineTable):
    """The table of requests, which says when it has got another size."""

    class Fitted(Message):
        """The pane has been laid out."""

    def on_resize(self) -> None:
        self.post_message(self.Fitted())


class OverviewView(View):
    """Requests, the selected one's text, the batch against its budget, the block pool, the last decisions."""

    view_name = "overview"
    number = 1
    title = "Overview"
    question = "what is this engine doing?"
    help_text = (
        "Every request with its state, how many tokens it has, how many of its prompt came from the prefix cache,"
        " and its blocks; what the step under the cursor computed, and what was decided in it and before."
    )
    drops = (Drop("side", 100), Drop("pool", 100), Drop("batch", 0, 12))

    def compose(self) -> ComposeResult:
        with Horizontal(id="overview-top"):
            yield RequestPane(id="requests", classes="framed", empty="No request yet: p submits a prompt.")
            with Vertical(id="side") as side:
                side.border_title = "text"
                yield TokenText(id="text", classes="framed", empty="Select a request to read its text.")
        yield BudgetBar(id="batch", classes="framed", empty="Nothing was computed in this step.")
        with Horizontal(id="overview-bottom"):
            yield BlockMap(id="pool", classes="framed")
            yield TextPane(id="decisions", classes="framed", empty="Nothing was decided yet.")

    def on_mount(self) -> None:
        titles = {"requests": "requests", "pool": "KV blocks", "decisions": "decisions"}
        for pane, title in titles.items():
            self.query_one(f"#{pane}").border_title = title
        self.query_one("#decisions", TextPane).selectable = True
        self._told: Sequence[Told] = ()
        self._requests: Sequence[RequestRow] = ()

    @on(RequestPane.Fitted)
    def _requests_fitted(self, message: RequestPane.Fitted) -> None:
        """The tails of the texts are cut to the room there is."""
        message.stop()
        self.bench.note(News.RECORD)

    def show(self, scene: Scene, news: News) -> None:
        if news & (News.MOMENT | News.SELECTION | News.RECORD):
            self._show_requests(scene)
            self._show_text(scene)
            self._show_pool(scene)
        if news & News.MOMENT:
            self._show_batch(scene)
            self._show_decisions(scene)

    def _show_requests(self, scene: Scene) -> None:
        pane = self.query_one("#requests", LineTable)
        model = RequestTable(scene, pane.body_width)
        pane.set_model(model)
        self._requests = model.requests
        pane.border_subtitle = f"{len(scene.moment.state.requests)} live of {len(model)}"
        if (row := model.index_of(scene.selection.request)) is not None:
            pane.show_cursor(row)

    def _show_text(self, scene: Scene) -> None:
        pane, request = self.query_one("#text", TokenText), scene.selection.request
        if request is None or not scene.moment.token_count(request):
            pane.set_model(None)
            return
        model, position = RequestText.at(scene, request), scene.selection.position
        pane.set_model(model, follow=position is None)
        pane.show_cursor(len(model) - 1 if position is None else position)
        pane.border_title = f"request {request}{origin_of(scene.record, scene.record.request(request))}"
        pane.border_subtitle = "shaded: the less likely, the stronger"

    def _show_pool(self, scene: Scene) -> None:
        pane, blocks = self.query_one("#pool", BlockMap), scene.moment.state.blocks
        pane.set_model(PoolMap(scene.moment, scene.selection.request))
        pane.border_subtitle = f"{blocks.owned} owned {blocks.cached} cached {len(blocks.free)} free"
        if scene.selection.block is not None:
            pane.show_cursor(scene.selection.block)

    def _show_batch(self, scene: Scene) -> None:
        pane = self.query_one("#batch", BudgetBar)
        pane.set_parts(batch_parts(scene), scene.moment.budget)
        words = batch_words(scene.moment.batch) if scene.moment.step else "before the first step"
        pane.border_title = f"step {scene.moment.step}: {words}"

    def _show_decisions(self, scene: Scene) -> None:
        pane = self.query_one("#decisions", TextPane)
        self._told = told_until(scene, DECISIONS)
        pane.set_lines([line_of(told, scene) for told in self._told])
        pane.show_cursor(0)

    # -- what a person does --------------------------------------------------------------------------

    def on_cursor_moved(self, message: CursorMoved) -> None:
        chosen, moment = self.scene.selection, self.scene.moment
        if message.pane.id == "requests":
            self.bench.select(replace(chosen, request=self._requests[message.index].request))
        elif message.pane.id == "text":
            self.bench.select(replace(chosen, position=message.index))
        elif message.pane.id == "pool":
            self.bench.select(replace(chosen, block=message.index))
        elif message.pane.id == "batch":
            self.bench.select(replace(chosen, request=moment.batch[message.index].request))

    def on_activated(self, message: Activated) -> None:
        if message.pane.id == "decisions":
            self._open_decision(self.query_one("#decisions", TextPane).cursor)
        elif message.pane.id == "pool":
            self.bench.open_view("blocks")
        else:
            self.bench.open_view("tokens")

    def _open_decision(self, index: int) -> None:
        if index >= len(self._told):
            return
        told = self._told[index]
        if told.step != self.scene.moment.step:
            self.bench.seek(told.step)
        self.bench.select(select_subject(told.event, self.scene.selection))

    def search(self, wanted: str, direction: int) -> str:
        pane, request = self.query_one("#text", TokenText), self.scene.selection.request
        if request is None:
            return "no request is selected, so there is no text to search"
        found = RequestText.at(self.scene, request).find(wanted, pane.cursor, direction)
        if found is None:
            return f"request {request} has no {wanted!r}"
        self.bench.select(replace(self.scene.selection, position=found))
        return f"{wanted!r} at position {found} of request {request}"

    # -- as text -------------------------------------------------------------------------------------

    def text(self, scene: Scene, width: int) -> str:
        moment = scene.moment
        used = sum(work.tokens for work in moment.batch)
        lines = [heading("requests", width), *table(RequestTable(scene, width), width)]
        lines += [heading(f"step {moment.step}", width)]
        lines += paragraphs([f"{batch_words(moment.batch)}, {used} of {moment.budget} tokens"], width)
        blocks = moment.state.blocks
        lines += [f"KV blocks: {blocks.owned} owned, {blocks.cached} cached, {len(blocks.free)} free"]
        told: list[Line] = [line_of(each, scene) for each in told_until(scene, DECISIONS)]
        return "\n".join([*lines, heading("decisions", width), *paragraphs(told, width)])


def batch_parts(scene: Scene) -> list[Part]:
    """The step's batch as parts of a bar, a part for each request."""
    return [
        Part(work.tokens, "prefill" if work.phase == "prefill" else "decode", f"request {work.request}")
        for work in scene.moment.batch
    ]


__all__ = ["OverviewView", "batch_parts"]
