"""View 7, Layers: where does the answer form?"""

from __future__ import annotations

from dataclasses import replace

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical

from engine import protocol as pr
from engine.stage_report import Window
from workbench.actions import Action
from workbench.bench import News, Scene
from workbench.forking import ForkHint
from workbench.inside import Inside, stage_name
from workbench.view import View
from workbench.views.layers_layout import FACES, LEFT, RIGHT, There, faces, left_out, shown
from workbench.views.layers_lens import HeadRows, Lens, LensRows, PartRows, series_of
from workbench.views.layers_looking import LayerLooking, captured_pass, compared
from workbench.views.layers_map import StageMap
from workbench.views.layers_pass import Pass, StageRows, halted_pass, row_pass
from workbench.views.layers_places import fork_place
from workbench.views.layers_source import Shown, source_lines, source_title
from workbench.views.layers_text import layers_text
from workbench.views.subject import subject_of
from workbench.widgets.messages import Activated, CellMoved, CursorMoved
from workbench.widgets.pane import LinePane
from workbench.widgets.sparkline import StepChart
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import TextPane


def _why_not_inside(view: LayersView) -> str | None:
    return None if view.inside is not None else "the engine stands in no forward pass: s steps into the next one"


class LayersView(View):
    """Stages and the lens on the left; a stage's values and source, and the parts of a logit on the right."""

    view_name = "layers"
    number = 7
    title = "Layers"
    question = "where does the answer form?"
    help_text = (
        "Inside a forward pass: its stages one by one, what they hold and the lines that ran; s goes in and on. "
        "Otherwise: all stages of the row that chose the selected token, run again (≈). The lens reads the "
        "stream after each layer as if it were the last; the parts say how much of the token's logit each wrote."
    )
    actions = (
        Action(
            "layers.next_layer", ("N",), "Run on to the next layer", "Run",
            lambda view: view.walk(pr.NextLayer(request=view.scene.selection.request)), "next layer",
            _why_not_inside,
        ),
        Action(
            "layers.to_stage", ("t",), "Run on to the stage under the cursor", "Run",
            lambda view: view.run_to_stage(), "to stage", _why_not_inside,
        ),
        Action(
            "layers.finish", ("f",), "Finish the forward pass and commit the step", "Run",
            lambda view: view.walk(pr.FinishForward()), "finish", _why_not_inside,
        ),
        Action(
            "layers.abandon", ("X",), "Abandon the step", "Run", lambda view: view.walk(pr.Abandon()), "abandon",
            _why_not_inside,
            "It is recorded as failed, its requests wait again, and the next step computes them.",
        ),
        Action(
            "layers.face", ("m",), "Stages, lens, or the parts of the logit", "View",
            lambda view: view.turn_face(), "more", lambda view: view.why_one_face(),
            "Where there is no room for all of it at once.",
        ),
        Action(
            "layers.token", ("w",), "Take apart the logit of the lens's likeliest token, or of the chosen one",
            "View", lambda view: view.turn_token(), "token", lambda view: view.why_no_lens(),
        ),
    )  # fmt: skip

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._looking = LayerLooking()
        self._face = 0
        self._stage = "resid_post"  # the one under the cursor, in whichever layer is selected
        self._token: tuple[object, int] | None = None  # a row, and the token taken apart there
        self._pass: Pass | None = None
        self._lens: Lens | None = None
        self._filled: tuple[object, ...] = ()
        self._stood: object = None
        self._asked: object = None

    def compose(self) -> ComposeResult:
        with Container(id="layers-body"):
            with Vertical(id="layers-left"):
                yield LineTable(id="layers-stages", classes="framed")
                yield LineTable(id="layers-lens", classes="framed")
                yield StepChart(id="layers-course", classes="framed")
            with Vertical(id="layers-right"):
                yield StageMap(id="layers-values", classes="framed")
                yield TextPane(id="layers-source", classes="framed")
                with Horizontal(id="layers-shares"):
                    yield LineTable(id="layers-parts", classes="framed")
                    yield LineTable(id="layers-heads", classes="framed")

    def on_mount(self) -> None:
        for pane, title in (("values", "values"), ("source", "source"), ("course", "norm, KL and prob by layer")):
            self.query_one(f"#layers-{pane}", LinePane).border_title = title
        self._arrange()

    # Panes

    @property
    def stages(self) -> LineTable:
        return self.query_one("#layers-stages", LineTable)

    @property
    def lens_pane(self) -> LineTable:
        return self.query_one("#layers-lens", LineTable)

    @property
    def course(self) -> StepChart:
        return self.query_one("#layers-course", StepChart)

    @property
    def values(self) -> StageMap:
        return self.query_one("#layers-values", StageMap)

    @property
    def source(self) -> TextPane:
        return self.query_one("#layers-source", TextPane)

    @property
    def parts(self) -> LineTable:
        return self.query_one("#layers-parts", LineTable)

    @property
    def heads(self) -> LineTable:
        return self.query_one("#layers-heads", LineTable)

    # Showing

    @property
    def inside(self) -> Inside | None:
        """The pass that the engine is halted in, while the screen follows the run."""
        scene = self.scene
        return scene.engine.inside if scene.moment.live else None

    def show(self, scene: Scene, news: News) -> None:  # noqa: ARG002
        inside, subject = self.inside, subject_of(scene)
        found = subject if isinstance(subject, str) else self._looking.at(scene, subject, self._token_of(scene))
        seen = None if isinstance(found, str) else found
        filled = (inside, seen or found, scene.selection.request, scene.glyphs)
        if filled != self._filled:
            self._filled = filled
            self._lens = None if seen is None else Lens(seen)
            self._pass = self._pass_of(scene, inside, seen)
            self._fill_stages(str(found))
            self._fill_lens(scene, str(found))
        self._follow(scene, inside)
        self._show_cursors(scene)
        self._arrange()

    def _token_of(self, scene: Scene) -> int | None:
        """Whose logit is taken apart: the one a person chose for this row."""
        chosen = scene.selection
        row = (chosen.request, chosen.position, chosen.own_row)
        if self._token is None or self._token[0] != row:
            self._token = None
        return None if self._token is None else self._token[1]

    def _pass_of(self, scene: Scene, inside: Inside | None, seen: pr.LayersSeen | None) -> Pass | None:
        if inside is not None:
            return halted_pass(inside, scene.record.about.shape.layers, scene.selection.request)
        if seen is not None:
            return row_pass(seen, compared(scene, seen))
        subject = subject_of(scene)
        return None if isinstance(subject, str) else captured_pass(scene, subject)

    def _fill_stages(self, why: str) -> None:
        table, shown_pass = self.stages, self._pass
        table.empty = why
        table.set_model(None if shown_pass is None else StageRows(shown_pass))
        table.border_title = "stages" if shown_pass is None else shown_pass.title
        table.border_subtitle = "" if shown_pass is None else shown_pass.mark

    def _fill_lens(self, scene: Scene, why: str) -> None:
        lens, text = self._lens, scene.record.token_text
        for pane in (self.lens_pane, self.parts, self.heads):
            pane.empty, pane.border_subtitle = why, ""
        self.lens_pane.set_model(None if lens is None else LensRows(lens, text))
        self.parts.set_model(None if lens is None else PartRows(lens))
        self.course.set_series(() if lens is None else series_of(lens))
        self.lens_pane.border_title, self.parts.border_title = "logit lens", "parts of the logit"
        if lens is not None:
            found = lens.found
            token = f"'{text(found.token)}'"
            which = "chosen" if found.chosen else "not chosen"
            self.lens_pane.border_title = f"logit lens of row {found.position}: {token}, {which}"
            self.lens_pane.border_subtitle = compared(scene, found)
            self.parts.border_title = f"logit of {token} by parts"
            self.parts.border_subtitle = f"sum and logit differ by {abs(found.remainder):.1e}"

    def _follow(self, scene: Scene, inside: Inside | None) -> None:
        """Stand where the pass stands, when that is news; ask for the rows of the selected request."""
        standing = None if inside is None else inside.standing
        if inside is None or standing is None:
            return
        stood = (inside.step, standing.layer, standing.stage)
        if stood != self._stood:
            self._stood, self._stage = stood, standing.stage
            if standing.layer >= 0:
                self.bench.select(replace(scene.selection, layer=standing.layer))
        request = scene.selection.request
        wanted = (*stood, request)
        if request != standing.request and inside.part(request) is not None and self._asked != wanted:
            self._asked = wanted
            self.walk(pr.LookStage(request=request))

    def _show_cursors(self, scene: Scene) -> None:
        layer = min(scene.selection.layer, scene.record.about.shape.layers - 1)
        shown_pass, lens = self._pass, self._lens
        if shown_pass is not None:
            outside = shown_pass.index(-1, self._stage)
            self.stages.show_cursor(shown_pass.nearest(layer, self._stage) if outside is None else outside)
            self._fill_stage(scene, shown_pass)
        if lens is not None:
            self.heads.set_model(HeadRows(lens, layer))
            self.heads.border_title = f"heads of layer {layer}"
            self.heads.show_cursor(scene.selection.head)
            for pane in (self.lens_pane, self.parts, self.course):
                if not 0 <= pane.cursor - 1 == layer and not (pane.cursor == 0 and pane.has_focus):
                    pane.show_cursor(layer + 1)

    def _fill_stage(self, scene: Scene, shown_pass: Pass) -> None:
        """The values and the source of the stage under the cursor; inside a pass, of where it stands."""
        index = self.stages.cursor if shown_pass.here is None else shown_pass.here
        line = shown_pass.lines[index]
        place = line.layer, line.stage
        seen, sources = shown_pass.seen.get(place), shown_pass.sources.get(place, ())
        mark = scene.glyphs.approximate if shown_pass.recomputed else ""
        self.values.empty = (
            "s runs on to the first stage." if self.inside is not None else "Nothing is known of it."
        )
        self.values.show_seen(seen, mark)
        self.values.border_title = f"values of {stage_name(*place)}"
        self.values.border_subtitle = "brighter is larger, whatever the sign" if seen is not None else ""
        source = source_lines(sources, scene.glyphs)
        if source.lines != self.source.lines:
            self.source.set_lines(source.lines)
            self.source.border_title = source_title(sources)
            self.source.call_after_refresh(self._show_ran, source)

    def _show_ran(self, source: Shown) -> None:
        """Scroll to the lines that ran, with a line around them."""
        pane = self.source
        if pane.lines is source.lines and pane.lines:
            pane.show_line(pane.line_of(min(source.last + 1, len(pane.lines) - 1)))
            pane.show_line(pane.line_of(max(source.first - 1, 0)))

    # Layout

    @property
    def _there(self) -> There:
        shown_pass = self._pass
        return There(
            shown_pass is not None,
            shown_pass is not None and bool(shown_pass.seen or self.inside is not None),
            shown_pass is not None and bool(shown_pass.sources),
            self._lens is not None,
        )

    @property
    def dropped(self) -> list[str]:
        return left_out(self._there, self.size, faces(self.size)[self._face])

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        self._arrange()

    def _arrange(self) -> None:
        self._face %= len(faces(self.size))
        on = shown(self._there, self.size, faces(self.size)[self._face])
        for pane, display in on.items():
            self.query_one(f"#{pane}").display = display
        self.set_class(len(faces(self.size)) == len(FACES), "-narrow")
        self.query_one("#layers-shares").display = on["layers-parts"] or on["layers-heads"]
        for side, panes in (("left", LEFT), ("right", RIGHT)):
            self.query_one(f"#layers-{side}").display = any(on[pane] for pane in panes)

    def panes(self) -> list[LinePane]:
        return [pane for pane in self.query(LinePane) if pane.is_on_screen or self._displayed(pane)]

    @staticmethod
    def _displayed(pane: LinePane) -> bool:
        return all(each.display for each in (pane, *pane.ancestors) if hasattr(each, "display"))

    # Acting

    def walk(self, command: pr.Walking) -> None:
        self.bench.walk(command)

    def run_to_stage(self) -> None:
        """Run on to the stage under the cursor; the engine says why not when it is behind."""
        if self._pass is not None:
            line = self._pass.lines[self.stages.cursor]
            self.walk(pr.ToStage(layer=line.layer, stage=line.stage, request=self.scene.selection.request))

    def why_one_face(self) -> str | None:
        return None if len(faces(self.size)) > 1 else "all of it is on the screen"

    def why_no_lens(self) -> str | None:
        return None if self._lens is not None else "there is no lens without a row that was looked at again"

    def turn_face(self) -> None:
        """Show the next face where they take turns."""
        self._face += 1
        self._arrange()
        if (pane := next(iter(self.panes()), None)) is not None:
            pane.focus()
        self.post_message(self.Rearranged())

    def turn_token(self) -> None:
        """Take apart the likeliest token under the lens's cursor; again, the one that was chosen."""
        if self._lens is None:
            return
        chosen = self.scene.selection
        likeliest = int(self._lens.ids[self.lens_pane.cursor][0])
        back = self._token is not None and self._token[1] == likeliest
        self._token = None if back else ((chosen.request, chosen.position, chosen.own_row), likeliest)
        self.show(self.scene, News.SELECTION)

    def fork_hint(self) -> ForkHint | None:
        """Switch off what is under the cursor: a head, the attention, the MLP, or all of a layer."""
        chosen = self.scene.selection
        return ForkHint(stages=fork_place(chosen, self._stage, heads=self.heads.has_focus))

    def search(self, wanted: str, direction: int) -> str:
        if self._pass is None:
            return "there is no stage to search"
        lines, at = self._pass.lines, self.stages.cursor
        for step in range(1, len(lines) + 1):
            index = (at + direction * step) % len(lines)
            if wanted in stage_name(lines[index].layer, lines[index].stage):
                self.stages.move_to(index)
                return stage_name(lines[index].layer, lines[index].stage)
        return f"there is no stage {wanted!r}"

    def _select_layer(self, layer: int) -> None:
        if 0 <= layer < self.scene.record.about.shape.layers:
            self.bench.select(replace(self.scene.selection, layer=layer))

    @on(CursorMoved, "#layers-stages")
    def _stage_moved(self, message: CursorMoved) -> None:
        message.stop()
        if self._pass is not None:
            line = self._pass.lines[message.index]
            self._stage = line.stage
            self._select_layer(line.layer)
            self._fill_stage(self.scene, self._pass)

    @on(CursorMoved, "#layers-lens, #layers-parts, #layers-course")
    def _depth_moved(self, message: CursorMoved) -> None:
        message.stop()
        self._select_layer(message.index - 1)

    @on(CursorMoved, "#layers-heads")
    def _head_moved(self, message: CursorMoved) -> None:
        message.stop()
        if message.index < self.scene.record.about.shape.heads:
            self.bench.select(replace(self.scene.selection, head=message.index))

    @on(CellMoved, "#layers-values")
    def _cell_moved(self, message: CellMoved) -> None:
        message.stop()

    @on(Activated, "#layers-values")
    def _cell_activated(self, message: Activated) -> None:
        """Ask for the values of a tile exactly."""
        message.stop()
        seen = self.values.seen
        if self.inside is not None and seen is not None and not seen.values.exact:
            row, rows, column, columns = self.values.tile()
            request = self.scene.selection.request
            self.walk(pr.LookStage(request=request, window=Window(row, rows, column, columns)))

    @on(Activated, "#layers-stages")
    def _stage_activated(self, message: Activated) -> None:
        """Inside, run on to the stage; otherwise look at its values."""
        message.stop()
        if self.inside is not None:
            self.run_to_stage()
        elif self.values.display:
            self.values.focus()

    @on(Activated, "#layers-lens")
    def _lens_activated(self, message: Activated) -> None:
        message.stop()
        self.turn_token()

    # Without a screen

    def text(self, scene: Scene, width: int) -> str:
        return layers_text(scene, self._looking, self._token_of(scene), width)


__all__ = ["LayersView"]
