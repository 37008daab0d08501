"""View 7, Layers: where does the answer form?"""

from __future__ import annotations

from dataclasses import replace

from textual import events, on
from textual.app import ComposeResult

from engine import protocol as pr
from engine.stage_report import Window
from workbench.bench import News, Scene
from workbench.forking import ForkHint
from workbench.inside import Inside, stage_name
from workbench.view import View
from workbench.views.layers_actions import ACTIONS
from workbench.views.layers_layout import FACES, There, faces, left_out, shown
from workbench.views.layers_lens import Lens
from workbench.views.layers_looking import LayerLooking, captured_pass, compared
from workbench.views.layers_panes import LayersPanes
from workbench.views.layers_pass import Pass, halted_pass, row_pass
from workbench.views.layers_places import fork_place
from workbench.views.layers_text import layers_text
from workbench.views.subject import subject_of
from workbench.widgets.messages import Activated, CellMoved, CursorMoved
from workbench.widgets.pane import LinePane


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
    actions = ACTIONS

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
        yield LayersPanes()

    def on_mount(self) -> None:
        self._arrange()

    @property
    def all_panes(self) -> LayersPanes:
        return self.query_one(LayersPanes)

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
        filled = (inside, subject, seen or found, scene.selection.request, scene.glyphs)
        if filled != self._filled:
            self._filled = filled
            self._lens = None if seen is None else Lens(seen)
            self._pass = self._pass_of(scene, inside, seen)
            self.all_panes.fill_stages(self._pass, str(found))
            self.all_panes.fill_lens(scene, self._lens, str(found))
            self._fill_norms(scene)
        self._follow(scene, inside)
        self._show_cursors(scene)
        self._arrange()

    def _fill_norms(self, scene: Scene) -> None:
        """Of a row that cannot be looked at again, the norms that were captured."""
        if self._lens is None and self._pass is not None and self.inside is None:
            self.all_panes.fill_captured(self._pass.norms, scene.record.about.shape.layers)

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
        panes, shown_pass = self.all_panes, self._pass
        if shown_pass is not None:
            outside = shown_pass.index(-1, self._stage)
            panes.stages.show_cursor(shown_pass.nearest(layer, self._stage) if outside is None else outside)
            self._fill_stage(shown_pass)
        if self._lens is not None:
            panes.show_layer(self._lens, layer, scene.selection.head)
        else:
            panes.course.show_cursor(layer + 1)

    def _fill_stage(self, shown_pass: Pass) -> None:
        """The stage under the cursor; inside a pass, where it stands."""
        panes, inside = self.all_panes, self.inside
        panes.values.empty = "s runs on to the first stage." if inside is not None else "Nothing is known of it."
        index = panes.stages.cursor if shown_pass.here is None else shown_pass.here
        panes.fill_stage(self.scene, shown_pass, index)

    # Layout

    @property
    def _there(self) -> There:
        shown_pass = self._pass
        return There(
            shown_pass is not None,
            shown_pass is not None and bool(shown_pass.seen or self.inside is not None),
            shown_pass is not None and bool(shown_pass.sources),
            self._lens is not None,
            self._lens is not None or (shown_pass is not None and self.inside is None),
        )

    @property
    def dropped(self) -> list[str]:
        return left_out(self._there, self.size, faces(self.size)[self._face])

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        self._arrange()

    def _arrange(self) -> None:
        turns = faces(self.size)
        self._face %= len(turns)
        self.set_class(len(turns) == len(FACES), "-narrow")
        self.all_panes.display_only(shown(self._there, self.size, turns[self._face]))

    def panes(self) -> list[LinePane]:
        return list(self.all_panes.on_screen())

    # Acting

    def walk(self, command: pr.Walking) -> None:
        self.bench.walk(command)

    def run_to_stage(self) -> None:
        """Run on to the stage under the cursor; the engine says why not when it is behind."""
        if self._pass is not None:
            line = self._pass.lines[self.all_panes.stages.cursor]
            self.walk(pr.ToStage(layer=line.layer, stage=line.stage, request=self.scene.selection.request))

    @property
    def one_face(self) -> bool:
        """Whether all of it is on the screen at once."""
        return len(faces(self.size)) == 1

    @property
    def has_lens(self) -> bool:
        return self._lens is not None

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
        likeliest = int(self._lens.ids[self.all_panes.lens.cursor][0])
        back = self._token is not None and self._token[1] == likeliest
        self._token = None if back else ((chosen.request, chosen.position, chosen.own_row), likeliest)
        self.show(self.scene, News.SELECTION)

    def fork_hint(self) -> ForkHint | None:
        """Switch off what is under the cursor: a head, the attention, the MLP, or all of a layer."""
        chosen = self.scene.selection
        return ForkHint(stages=fork_place(chosen, self._stage, heads=self.all_panes.heads.has_focus))

    def search(self, wanted: str, direction: int) -> str:
        if self._pass is None:
            return "there is no stage to search"
        lines, at = self._pass.lines, self.all_panes.stages.cursor
        for step in range(1, len(lines) + 1):
            index = (at + direction * step) % len(lines)
            if wanted in stage_name(lines[index].layer, lines[index].stage):
                self.all_panes.stages.move_to(index)
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
            self._fill_stage(self._pass)

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
        seen = self.all_panes.values.seen
        if self.inside is not None and seen is not None and not seen.values.exact:
            row, rows, column, columns = self.all_panes.values.tile()
            request = self.scene.selection.request
            self.walk(pr.LookStage(request=request, window=Window(row, rows, column, columns)))

    @on(Activated, "#layers-stages")
    def _stage_activated(self, message: Activated) -> None:
        """Inside, run on to the stage; otherwise look at its values."""
        message.stop()
        if self.inside is not None:
            self.run_to_stage()
        elif self.all_panes.values.display:
            self.all_panes.values.focus()

    @on(Activated, "#layers-lens")
    def _lens_activated(self, message: Activated) -> None:
        message.stop()
        self.turn_token()

    # Without a screen

    def text(self, scene: Scene, width: int) -> str:
        return layers_text(scene, self._looking, self._token_of(scene), width)


__all__ = ["LayersView"]
