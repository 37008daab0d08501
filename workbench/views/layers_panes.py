"""The panes of the Layers view, and what they are filled with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical

from engine.protocol import LayersSeen
from workbench.bench import Scene
from workbench.inside import stage_name
from workbench.views.layers_layout import LEFT, RIGHT
from workbench.views.layers_lens import HeadRows, Lens, LensRows, PartRows, captured_series, series_of
from workbench.views.layers_looking import compared
from workbench.views.layers_map import StageMap
from workbench.views.layers_pass import Pass, StageRows
from workbench.views.layers_source import Shown, source_lines, source_title
from workbench.widgets.pane import LinePane
from workbench.widgets.sparkline import StepChart
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import TextPane
from workbench.widgets.track import label_width

MOST_ZOOM = 3


class LayersPanes(Container):
    """Stages and the lens on the left; values, source and the parts of the logit on the right."""

    def __init__(self) -> None:
        super().__init__(id="layers-body")
        self.stages = LineTable(id="layers-stages", classes="framed")
        self.lens = LineTable(id="layers-lens", classes="framed")
        self.course = StepChart(id="layers-course", classes="framed", empty="")
        self.values = StageMap(id="layers-values", classes="framed")
        self.source = TextPane(id="layers-source", classes="framed", empty="No lines are known.")
        self.parts = LineTable(id="layers-parts", classes="framed")
        self.heads = LineTable(id="layers-heads", classes="framed")
        self.left_side = Vertical(self.stages, self.lens, self.course, id="layers-left")
        self.shares = Horizontal(self.parts, self.heads, id="layers-shares")
        self.right_side = Vertical(self.values, self.source, self.shares, id="layers-right")

    def compose(self) -> ComposeResult:
        yield self.left_side
        yield self.right_side

    def display_only(self, on: Mapping[str, bool]) -> None:
        """Show these panes, by their CSS ids."""
        for pane, display in on.items():
            self.query_one(f"#{pane}").display = display
        self.shares.display = on["layers-parts"] or on["layers-heads"]
        self.left_side.display = any(on[pane] for pane in LEFT)
        self.right_side.display = any(on[pane] for pane in RIGHT)

    def on_screen(self) -> Iterator[LinePane]:
        """The panes on the screen."""
        hidden = {side for side in (self.left_side, self.right_side, self.shares) if not side.display}
        return (pane for pane in self.query(LinePane) if pane.display and not hidden & set(pane.ancestors))

    def fill_stages(self, shown: Pass | None, why: str) -> None:
        """The list; without a pass, why there is none."""
        self.stages.empty = why
        self.stages.set_model(None if shown is None else StageRows(shown))
        self.stages.border_title = "stages" if shown is None else shown.title
        self.stages.border_subtitle = "" if shown is None else shown.mark

    def fill_captured(self, norms: dict[int, float], layers: int) -> None:
        """The norms alone, where they were captured in the run."""
        series = captured_series(norms, layers)
        self.course.set_series(series, zoom=self._zoom(layers + 1))
        self.course.border_title = "norm by layer, as captured in the run"

    def fill_lens(self, scene: Scene, lens: Lens | None, why: str) -> None:
        """The lens and the parts of the logit; without a row, why there is none."""
        self.course.border_title = "norm, KL and p by layer"
        text = scene.record.token_text
        for pane in (self.lens, self.parts, self.heads):
            pane.empty, pane.border_subtitle = why, ""
        self.lens.set_model(None if lens is None else LensRows(lens, text))
        self.parts.set_model(None if lens is None else PartRows(lens))
        self.course.set_series(
            () if lens is None else series_of(lens), zoom=0 if lens is None else self._zoom(lens.depths)
        )
        self.lens.border_title, self.parts.border_title = "logit lens", "parts of the logit"
        if lens is None:
            self.heads.set_model(None)
            return
        found = lens.found
        token = f"'{text(found.token)}'"
        which = _came(scene, found)
        self.lens.border_title = f"logit lens of row {found.position}: {token}, {which}"
        self.lens.border_subtitle = compared(scene, found)
        self.parts.border_title = f"logit of {token} by parts"
        self.parts.border_subtitle = f"{scene.glyphs.approximate} sum within {abs(found.remainder):.0e}"

    def fill_stage(self, scene: Scene, shown: Pass, index: int) -> None:
        """The values and the source of a stage of the list."""
        line = shown.lines[index]
        place = line.layer, line.stage
        seen = shown.seen.get(place)
        self.values.halted = shown.here is not None
        self.values.show_seen(seen, scene.glyphs.approximate if shown.recomputed else "")
        self.values.border_title = f"values of {stage_name(*place)}"
        self.values.border_subtitle = "brighter is larger, whatever the sign" if seen is not None else ""
        sources = shown.sources.get(place, ())
        source = source_lines(sources, scene.glyphs)
        if source.lines != self.source.lines:
            self.source.set_lines(source.lines)
            self.source.border_title = source_title(sources)
            self.source.call_after_refresh(self._show_ran, source)

    def show_layer(self, lens: Lens, layer: int, head: int) -> None:
        """Put the cursors of what goes by layer on one, unless they rest on what belongs to none."""
        self.heads.set_model(HeadRows(lens, layer))
        self.heads.border_title = f"heads of layer {layer}"
        self.heads.show_cursor(head)
        for pane in (self.lens, self.parts, self.course):
            if 0 < pane.cursor < lens.depths or not pane.has_focus:
                pane.show_cursor(layer + 1)

    def _zoom(self, depths: int) -> int:
        """How often a layer's width in the chart can be doubled, where there are few."""
        room = self.course.body_width - label_width(self.course.body_width)
        return max(0, min(MOST_ZOOM, (room // depths).bit_length() - 1))

    def _show_ran(self, source: Shown) -> None:
        """Scroll to the lines that ran, with a line around them."""
        pane = self.source
        if pane.lines is source.lines and pane.lines:
            pane.show_line(pane.line_of(min(source.last + 1, len(pane.lines) - 1)))
            pane.show_line(pane.line_of(max(source.first - 1, 0)))


def _came(scene: Scene, found: LayersSeen) -> str:
    """How the token came to follow the row, or that it did not."""
    if not found.follows:
        return "not chosen"
    row = scene.record.request(found.request)
    return "given" if row is not None and found.position + 1 < row.prompt_tokens else "chosen"


__all__ = ["LayersPanes"]
