"""View 3, Attention: what did it look at?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from engine.wording import plural
from workbench.actions import Action
from workbench.bench import News, Scene
from workbench.view import View
from workbench.views.attention_data import MEASURES, Heads
from workbench.views.attention_looking import Looking
from workbench.views.attention_models import (
    AttendedText,
    GridOfHeads,
    StrongestKeys,
    average_matrix,
    focus_matrix,
)
from workbench.views.attention_text import attention_text, check_text, compared, heads_per_kv
from workbench.views.request_text import RequestText
from workbench.views.subject import Subject, subject_of
from workbench.widgets.headgrid import HeatGrid
from workbench.widgets.heatmap import Heatmap
from workbench.widgets.messages import Activated, CellMoved, CursorMoved
from workbench.widgets.pane import LinePane
from workbench.widgets.table import LineTable
from workbench.widgets.tokentext import TokenText

if TYPE_CHECKING:
    from workbench.views.attention_data import Floats

NARROW = 100  # below, the right side takes turns with the left
ROOMY = 118  # below, the numbers of a head take three lines
KEYS_HEIGHT = 24  # the least height of the view for the list of keys


def _why_not_follow(view: AttentionView) -> str | None:
    return "the newest token is followed already" if view.scene.selection.position is None else None


class AttentionView(View):
    """All heads and the text on the left; the selected head and the keys it looked at on the right."""

    view_name = "attention"
    number = 3
    title = "Attention"
    question = "what did it look at?"
    help_text = (
        "What the row that chose the selected token attended to, in every layer and head. It is computed again "
        "from the tokens: ≈ marks that, with the largest difference from the recorded logits, and how far "
        "pattern · V is from what attention gave. The text is shaded by the selected head's weights."
    )
    actions = (
        Action(
            "attention.measure", ("m",), "Show maps, entropy, sink, distance, previous, induction", "View",
            lambda view: view.turn_measure(), "measure",
            help="What the small tiles show; the line below has all numbers of a head.",
        ),
        Action(
            "attention.average", ("v",), "Average over the heads of the layer, or one head", "View",
            lambda view: view.toggle_average(), "average",
        ),
        Action("attention.next_head", (">",), "Next head", "View", lambda view: view.move_head(1)),
        Action("attention.previous_head", ("<",), "Previous head", "View", lambda view: view.move_head(-1)),
        Action(
            "attention.follow", ("f",), "Follow the newest token", "View", lambda view: view.follow(), "follow",
            _why_not_follow,
        ),
    )  # fmt: skip

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._looking = Looking()
        self._measure = 0
        self._average = False
        self._drilled = False  # where it is narrow: the right side is shown
        self._heads: Heads | None = None
        self._shown: object = None

    def compose(self) -> ComposeResult:
        with Container(id="attention-body"):
            with Vertical(id="attention-left"):
                yield HeatGrid(id="attention-grid", classes="framed")
                yield TokenText(id="attention-text", classes="framed")
            with Vertical(id="attention-right"):
                yield Heatmap(id="attention-head", classes="framed")
                yield LineTable(id="attention-keys", classes="framed")

    def on_mount(self) -> None:
        self._arrange()

    # Panes

    @property
    def grid(self) -> HeatGrid:
        return self.query_one("#attention-grid", HeatGrid)

    @property
    def text_pane(self) -> TokenText:
        return self.query_one("#attention-text", TokenText)

    @property
    def head_map(self) -> Heatmap:
        return self.query_one("#attention-head", Heatmap)

    @property
    def keys(self) -> LineTable:
        return self.query_one("#attention-keys", LineTable)

    # Showing

    def show(self, scene: Scene, news: News) -> None:  # noqa: ARG002
        subject = subject_of(scene)
        if isinstance(subject, str):
            self._show_nothing(subject)
            self.text_pane.empty = subject
            self.text_pane.set_model(None)
            return
        found = self._looking.at(scene, subject)
        if isinstance(found, str):
            self._show_nothing(found)
            self._show_plain_text(scene, subject)
            return
        if self._heads is None or self._heads.inspection is not found:
            self._heads = Heads(found, scene.record.token_ids(subject.request)[: found.position + 1])
        self._show_heads(scene, subject, self._heads)

    def _show_nothing(self, why: str) -> None:
        self._heads = self._shown = None
        for pane in (self.grid, self.head_map, self.keys):
            pane.border_title = pane.border_subtitle = ""
            pane.empty = why if pane is self.grid else ""
        self.grid.set_model(None)
        self.head_map.set_matrix(None)
        self.keys.set_model(None)
        self._drilled = False
        self._arrange()

    def _show_plain_text(self, scene: Scene, subject: Subject) -> None:
        self.text_pane.set_model(RequestText.at(scene, subject.request), follow=subject.following)
        self.text_pane.show_cursor(subject.position)
        self.text_pane.border_title = f"request {subject.request} by probability"
        self.text_pane.border_subtitle = ""

    def _show_heads(self, scene: Scene, subject: Subject, heads: Heads) -> None:
        selection = scene.selection
        layer = min(selection.layer, heads.inspection.layers - 1)
        head = min(selection.head, heads.inspection.heads - 1)
        weights = heads.weights(layer, head, average=self._average)
        late = subject.row != heads.row
        shown = (heads.inspection, layer, head, self._measure, self._average, late)
        if shown != self._shown:
            self._shown = shown
            self._fill_grid(scene, heads, f" (row {subject.row} is on its way)" if late else "")
            self._fill_map(scene, heads, layer, head)
            self._fill_keys(scene, heads, weights)
        self.grid.show_cell(layer, head)
        self._arrange()
        self._fill_text(scene, subject, heads, weights)

    def _fill_grid(self, scene: Scene, heads: Heads, late: str) -> None:
        measure, seen, grid = MEASURES[self._measure], heads.inspection, self.grid
        grid.set_model(GridOfHeads(heads, heads_per_kv(scene), measure))
        grid.border_title = f"heads: {measure.title}, row {seen.position}{late}"
        grid.border_subtitle = compared(scene, heads)

    def _fill_map(self, scene: Scene, heads: Heads, layer: int, head: int) -> None:
        pane, seen, text = self.head_map, heads.inspection, scene.record.token_text
        if self._average:
            pane.border_title = f"layer {layer}, mean of {seen.heads} heads"
            pane.border_subtitle = (
                f"~ mean of maps pooled to {seen.grid_size}{scene.glyphs.times}{seen.grid_size}"
            )
            pane.set_matrix(average_matrix(heads, layer, "~"))
            return
        kv = head // heads_per_kv(scene)
        pane.border_title = f"layer {layer} head {head}, KV head {kv}, latest {plural(seen.rows, 'row')}"
        if (seen.layer, seen.head) != (layer, head):
            pane.empty = f"Looking at layer {layer} head {head}."
            pane.border_subtitle = ""
            pane.set_matrix(None)
            return
        pane.border_subtitle = check_text(scene, heads)
        pane.set_matrix(focus_matrix(heads, text, "" if heads.captured else scene.glyphs.approximate))
        strongest = heads.strongest(heads.weights(layer, head), 1)
        pane.show_cell(seen.rows - 1, strongest[0].position // seen.pool if strongest else 0)

    def _fill_keys(self, scene: Scene, heads: Heads, weights: Floats) -> None:
        keys = StrongestKeys(heads, weights, scene.record.token_text)
        self.keys.set_model(keys)
        self.keys.show_cursor(0)
        self.keys.border_title = f"what row {heads.row} attended to most{self._mean}"
        self.keys.border_subtitle = keys.summary

    def _fill_text(self, scene: Scene, subject: Subject, heads: Heads, weights: Floats) -> None:
        pane = self.text_pane
        text = AttendedText.under(scene, subject.request, heads, weights)
        pane.set_model(text, follow=subject.following)
        pane.show_cursor(subject.position)
        pane.border_title = f"request {subject.request} by attention of row {heads.row}{self._mean}"
        pane.border_subtitle = f"{text.full:.2g} and more is full, square-root scale"

    @property
    def _mean(self) -> str:
        return ", mean of heads" if self._average else ""

    # Layout

    @property
    def dropped(self) -> list[str]:
        if self._heads is None:
            return []
        if self.size.width < NARROW and not self._drilled:
            return ["the head's map (enter shows it)"]
        if self.size.width < NARROW:
            return ["all heads (esc shows them)"]
        return [] if self.keys.display else ["the strongest keys"]

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        self._arrange()

    def _arrange(self) -> None:
        """Both sides where it is wide; otherwise one, and what has nothing to show makes room."""
        width, height = self.size
        narrow, there = width < NARROW, self._heads is not None
        self.set_class(narrow, "-narrow")
        self.grid.bottom_lines = 2 if width >= ROOMY else 3
        self.query_one("#attention-body").set_class(not there, "-alone")
        self.query_one("#attention-right").display = there and (not narrow or self._drilled)
        self.query_one("#attention-left").display = not (narrow and self._drilled)
        self.keys.display = height >= KEYS_HEIGHT or (narrow and height >= 16)

    # Acting

    def turn_measure(self) -> None:
        """Let the small tiles show the next measure."""
        self._measure = (self._measure + 1) % len(MEASURES)
        self.bench.say(f"{MEASURES[self._measure].title}: {MEASURES[self._measure].says}")
        self.show(self.scene, News.SELECTION)

    def toggle_average(self) -> None:
        """The mean over the heads of a layer, or one head."""
        self._average = not self._average
        self.show(self.scene, News.SELECTION)

    def follow(self) -> None:
        """Select no token, so that the newest one is shown."""
        self.bench.select(replace(self.scene.selection, position=None, own_row=False))

    def move_head(self, step: int) -> None:
        """The next or previous head, on to the next layer at the end."""
        shape, chosen = self.scene.record.about.shape, self.scene.selection
        at = min(max(chosen.layer * shape.heads + chosen.head + step, 0), shape.layers * shape.heads - 1)
        self._select_head(*divmod(at, shape.heads))

    def back(self) -> bool:
        if not self._drilled:
            return False
        self._drill(False)
        return True

    def search(self, wanted: str, direction: int) -> str:
        subject = subject_of(self.scene)
        if isinstance(subject, str):
            return subject
        found = RequestText.at(self.scene, subject.request).find(wanted, subject.position, direction)
        if found is None:
            return f"request {subject.request} has no {wanted!r}"
        self._select(found)
        return f"{wanted!r} at position {found}"

    def panes(self) -> list[LinePane]:
        return [pane for pane in self.query(LinePane) if pane.display and pane.parent and pane.parent.display]

    def _drill(self, into: bool) -> None:
        self._drilled = into
        self._arrange()
        (self.head_map if into else self.grid).focus()
        self.post_message(self.Rearranged())

    def _select(self, position: int) -> None:
        self.bench.select(replace(self.scene.selection, position=position))

    def _select_head(self, layer: int, head: int) -> None:
        self.bench.select(replace(self.scene.selection, layer=layer, head=head))

    @on(CellMoved, "#attention-grid")
    def _head_moved(self, message: CellMoved) -> None:
        message.stop()
        self._select_head(message.row, message.column)

    @on(CellMoved, "#attention-head")
    def _cross_moved(self, message: CellMoved) -> None:
        message.stop()

    @on(CursorMoved, "#attention-text")
    def _token_moved(self, message: CursorMoved) -> None:
        message.stop()
        self._select(message.index)

    @on(CursorMoved, "#attention-keys")
    def _key_moved(self, message: CursorMoved) -> None:
        """The cross of the large map follows the list."""
        message.stop()
        model = self.keys.model
        if isinstance(model, StrongestKeys) and self._heads is not None and not self._average:
            column = model.keys[message.index].position // self._heads.pool
            self.head_map.show_cell(self._heads.inspection.rows - 1, column)

    @on(Activated, "#attention-grid")
    def _grid_activated(self, message: Activated) -> None:
        message.stop()
        if self._heads is None:
            return
        if self.size.width < NARROW:
            self._drill(True)
        else:
            self.head_map.focus()

    @on(Activated, "#attention-head")
    def _query_activated(self, message: Activated) -> None:
        """Show the row under the cross: select the token whose shown row it is."""
        message.stop()
        if self._heads is not None and not self._average:
            seen = self._heads.inspection
            row = seen.kv - seen.rows + self.head_map.row
            self._select(row if self.scene.selection.own_row else row + 1)

    @on(Activated, "#attention-keys")
    def _key_activated(self, message: Activated) -> None:
        """Go to the token that was attended to."""
        message.stop()
        model = self.keys.model
        if isinstance(model, StrongestKeys) and model.keys:
            self._select(model.keys[self.keys.cursor].position)

    @on(Activated, "#attention-text")
    def _token_activated(self, message: Activated) -> None:
        message.stop()
        if self.scene.selection.step is not None:
            self.bench.seek(self.scene.selection.step)

    # Without a screen

    def text(self, scene: Scene, width: int) -> str:
        return attention_text(scene, self._looking, width)


__all__ = ["AttentionView"]
