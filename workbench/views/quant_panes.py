"""The panes about quantization, and what they are filled with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.app import ComposeResult
from textual.containers import Container, Vertical

from engine.quantization_result import LayerError, Measured
from engine.sanitise import display_text
from sessions.quantization_kept import Study
from workbench.views.quant_layout import LEFT, RIGHT
from workbench.views.quant_tables import (
    FlipRows,
    LayerRows,
    MethodRows,
    OutlierRows,
    TensorRows,
    as_it_is,
    layer_title,
)
from workbench.views.quant_text import SHADES_SAID, KLCourse, PredictedText, predictions
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.gridbars import GridBars
from workbench.widgets.pane import LinePane
from workbench.widgets.sparkline import StepChart
from workbench.widgets.table import LineTable
from workbench.widgets.tokentext import TokenText


class QuantPanes(Container):
    """Methods above; layers, tensors and their grid on the left, the text and what flipped in it on the right."""

    def __init__(self) -> None:
        super().__init__(id="quant")
        self.methods = LineTable(id="quant-methods", classes="framed", empty="")
        self.layer_rows = LineTable(id="quant-layers", classes="framed", empty="")
        self.tensors = LineTable(id="quant-tensors", classes="framed", empty="")
        self.grid = GridBars(id="quant-grid", classes="framed", empty="")
        self.words = TokenText(id="quant-text", classes="framed", empty="")
        self.course = StepChart(id="quant-course", classes="framed", empty="")
        self.flips = LineTable(id="quant-flips", classes="framed", empty="No likeliest token changed.")
        self.outliers = LineTable(id="quant-outliers", classes="framed", empty="No channel stands out.")
        self.left_side = Vertical(self.layer_rows, self.tensors, self.grid, id="quant-left")
        self.right_side = Vertical(self.words, self.course, self.flips, self.outliers, id="quant-right")
        self.below = Container(self.left_side, self.right_side, id="quant-body")
        self.predicted: PredictedText | None = None

    def compose(self) -> ComposeResult:
        yield self.methods
        yield self.below

    def on_mount(self) -> None:
        self.outliers.border_title = "channels of activations that stand out"

    def display_only(self, names: Sequence[str]) -> None:
        """Show these panes, by the end of their ids."""
        for pane in self.query(LinePane):
            pane.display = str(pane.id).removeprefix("quant-") in names
        self.left_side.display = any(name in names for name in LEFT)
        self.right_side.display = any(name in names for name in RIGHT)
        self.below.display = self.left_side.display or self.right_side.display

    def on_screen(self) -> Iterator[LinePane]:
        return (pane for pane in self.query(LinePane) if pane.display)

    # Filling

    def show_nothing(self, why: str) -> None:
        """There is nothing to show, and why."""
        self.predicted = None
        self.methods.empty = why
        self.methods.border_title, self.methods.border_subtitle = "quantization", ""
        self.methods.set_model(None)
        self.add_class("-empty")

    def fill_study(self, study: Study, others: int, glyphs: Glyphs) -> None:
        """A text, and the methods measured on it."""
        self.remove_class("-empty")
        name = display_text(study.text.name)
        more = f", 1 of {others + 1} texts (t: the next)" if others else ""
        self.methods.border_title = (
            f"methods on {name}: {predictions(study):,} predictions, {study.text.dtype}{more}"
        )
        self.methods.set_model(MethodRows(study.methods, glyphs))

    def fill_method(self, study: Study, measured: Measured, glyphs: Glyphs) -> None:
        """What one method did."""
        found = measured.method
        name = display_text(found.method)
        self.methods.border_subtitle = as_it_is(measured.baseline)
        self.layer_rows.set_model(LayerRows(found))
        self.layer_rows.border_title = "layers to blame"
        self.layer_rows.border_subtitle = f"by the {found.blamed_by}"
        self.predicted = text = PredictedText(study, found)
        self.words.set_model(text)
        self.words.border_title = f"KL of {name}, {SHADES_SAID}"
        self.course.set_series((KLCourse(text),))
        self.flips.set_model(FlipRows(found.flips))
        all_there = len(found.flips) == found.flipped
        some = "" if all_there else f"; the {len(found.flips)} that led by most of {found.flipped:,}"
        self.flips.border_title = f"likeliest token, as it is and by {name}{some}"
        self.flips.border_subtitle = "enter: both models side by side"
        self.outliers.set_model(OutlierRows(measured.baseline.outliers, glyphs))

    def fill_layer(self, layer: LayerError) -> None:
        """The tensors of one layer."""
        self.tensors.set_model(TensorRows(layer.tensors))
        self.tensors.border_title = f"tensors of {layer_title(layer.layer)}"

    def fill_grid(self, layer: LayerError, index: int) -> None:
        """Where the weights of one tensor lie on their grid."""
        found = layer.histograms[index]
        place = found.tensor if layer.layer < 0 else f"layer {layer.layer} {found.tensor}"
        self.grid.set_bins(found.counts, found.first, found.last, found.levels)
        self.grid.border_title = f"weights of {place} on their grid: {len(found.levels)} levels"
        self.grid.border_subtitle = f"{found.outside:,} beyond it, clipped" if found.outside else ""

    def show_token(self, position: int) -> None:
        """Put all cursors on one token of the text."""
        if self.predicted is None:
            return
        self.words.show_cursor(position)
        self.course.show_cursor(position)
        self.course.border_title = self.predicted.distance(position)
        self.words.border_subtitle = self.predicted.flip(position)
        rows = self.flips.model
        if isinstance(rows, FlipRows) and (row := rows.index_of(position)) is not None:
            self.flips.show_cursor(row)


__all__ = ["QuantPanes"]
