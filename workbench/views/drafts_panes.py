"""The panes about drafts, and what they are filled with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.app import ComposeResult
from textual.containers import Container, Vertical

from sessions.draft_rounds import Round
from workbench.bench import Scene
from workbench.views.drafts_data import DraftRounds
from workbench.views.drafts_layout import LEFT, RIGHT
from workbench.views.drafts_tables import DraftLanes, LedgerRows, PlaceRows, ResidualRows, course_of
from workbench.views.drafts_words import draft_facts
from workbench.widgets.cdfbar import CdfBar, Share
from workbench.widgets.lanes import Lanes
from workbench.widgets.pane import LinePane
from workbench.widgets.sparkline import StepChart
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import TextPane

GREEDY = "Greedy: nothing is drawn. The target's likeliest token accepts the draft that it is."
NOT_REJECTED = "Nothing was drawn from a residual here: no draft was rejected by a draw."


class DraftPanes(Container):
    """Facts above; both lanes, rates and their course on the left, the ledger of one round on the right."""

    def __init__(self) -> None:
        super().__init__(id="drafts")
        self.facts = TextPane(id="drafts-facts", classes="framed")
        self.lanes = Lanes(id="drafts-lanes", classes="framed", empty="No pass after the prefill yet.")
        self.places = LineTable(id="drafts-places", classes="framed", empty="Nothing was verified yet.")
        self.course = StepChart(id="drafts-course", classes="framed", empty="No pass yet.")
        self.ledger = LineTable(id="drafts-ledger", classes="framed", empty="This pass had no drafts.")
        self.draw = CdfBar(id="drafts-draw", classes="framed")
        self.residual = LineTable(id="drafts-residual", classes="framed", empty=NOT_REJECTED)
        self.left_side = Vertical(self.lanes, self.course, self.places, id="drafts-left")
        self.right_side = Vertical(self.ledger, self.draw, self.residual, id="drafts-right")
        self.below = Container(self.left_side, self.right_side, id="drafts-body")

    def compose(self) -> ComposeResult:
        yield self.facts
        yield self.below

    def on_mount(self) -> None:
        self.facts.border_title = "speculative decoding"
        self.places.border_title = "acceptance by place in the draft"
        self.course.border_title = "by pass: tokens, and the rate of the latest 16"

    def display_only(self, names: Sequence[str]) -> None:
        """Show these panes, by the end of their ids."""
        for pane in self.query(LinePane):
            pane.display = str(pane.id).removeprefix("drafts-") in names
        self.left_side.display = any(name in names for name in LEFT)
        self.right_side.display = any(name in names for name in RIGHT)
        self.below.display = self.left_side.display or self.right_side.display

    def on_screen(self) -> Iterator[LinePane]:
        return (pane for pane in self.query(LinePane) if pane.display)

    # Filling

    def fill_rounds(self, found: DraftRounds, scene: Scene) -> None:
        """What is known of a request."""
        self.facts.set_lines(draft_facts(found))
        self.lanes.set_model(DraftLanes(found, scene.record.token_text, scene.glyphs))
        self.lanes.border_title = f"tokens of request {found.request}, and the drafts below"
        cross = scene.glyphs.cross
        self.lanes.border_subtitle = f"= accepted  {cross} rejected  + bonus"
        self.places.set_model(PlaceRows(found.tally.places) if found.tally.places else None)
        self.course.set_series(course_of(found))

    def show_round(self, one: Round, position: int, scene: Scene) -> None:
        """The ledger of one pass, its cursor on the token at `position`."""
        self.ledger.border_title = f"pass of step {one.step:,}, from position {one.position:,} on"
        if one.verified is None:
            self.ledger.set_model(None)
            self.residual.set_model(None)
            self.draw.empty = "This pass had no drafts."
            self.draw.set_draw((), None)
            self.draw.border_title = self.residual.border_title = ""
            return
        rows = LedgerRows(one, scene.record.token_text)
        self.ledger.set_model(rows)
        self.ledger.show_cursor(rows.index_of(position))
        left = one.verified.residual
        self.residual.set_model(None if left is None else ResidualRows(left, scene.record.token_text))
        if left is not None and left.token in left.ids:
            self.residual.show_cursor(left.ids.index(left.token))
        self.residual.border_title = (
            "residual" if left is None else f"residual: what q leaves of p, {left.mass:.4f}, made whole"
        )
        self.show_draw(scene)

    def show_draw(self, scene: Scene) -> None:
        """The draw of the ledger's row under the cursor, on the interval that it fell in."""
        rows, index = self.ledger.model, self.ledger.cursor
        if not isinstance(rows, LedgerRows) or rows.round.verified is None:
            return
        drafts = rows.round.verified.drafts
        if index < len(drafts):
            self._show_verdict(rows, index, scene)
        else:
            self._show_last(rows, scene)

    def _show_verdict(self, rows: LedgerRows, index: int, scene: Scene) -> None:
        assert rows.round.verified is not None
        draft = rows.round.verified.drafts[index]
        token = f"'{scene.record.token_text(draft.token)}'"
        self.draw.border_title = f"draw that decides on {token}"
        if draft.draw is None or draft.ratio is None:
            unused = f"{token} was not looked at: a draft before it was rejected."
            self.draw.empty = unused if draft.verdict == "unused" else GREEDY
            self.draw.set_draw((), None)
            return
        accepts = min(1.0, draft.ratio)
        shares = Share("accepts", accepts), Share("rejects", 1 - accepts, quiet=True)
        self.draw.set_draw(shares, draft.draw, 0 if draft.verdict == "accepted" else 1)

    def _show_last(self, rows: LedgerRows, scene: Scene) -> None:
        """The draw that chose the token which no draft was."""
        one, position = rows.round, rows.round.stop - 1
        token = scene.record.token_text(one.choices[-1].token)
        self.draw.border_title = f"draw of the {rows.end} token '{token}'"
        residual = one.verified.residual if one.verified is not None else None
        if residual is not None:
            draw, low, high = residual.draw, residual.low, residual.high
        else:
            row = scene.record.token_row(self._request(scene), position)
            if row is None or row.draw is None or row.low is None or row.high is None:
                self.draw.empty = "Greedy: nothing is drawn. This is the target's likeliest token."
                self.draw.set_draw((), None)
                return
            draw, low, high = row.draw, row.low, row.high
        shares = Share("", low, quiet=True), Share(f"'{token}'", high - low), Share("", 1 - high, quiet=True)
        self.draw.set_draw(shares, draw, 1)

    def _request(self, scene: Scene) -> str:
        return scene.selection.request or ""


__all__ = ["DraftPanes"]
