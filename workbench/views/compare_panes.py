"""The panes of the Compare view, and what they are filled with."""

from __future__ import annotations

from typing import Final

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widget import Widget

from engine.divergence_result import Divergence
from workbench.views.compare_data import Comparison
from workbench.views.compare_search import Wanted
from workbench.views.compare_stages import LayerRows, StageRows
from workbench.views.compare_table import AlignedTokens, strips_of
from workbench.views.compare_text import OVER_TOP, facts_of
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.sparkline import StepChart
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import TextPane

_TITLES: Final = {
    "facts": "compare", "tokens": "side by side", "found": "first differing stage",
    "layers": "difference by layer", "stages": "stages", "course": "by position",
}  # fmt: skip


class ComparePanes:
    """Facts above; tokens side by side, and what was searched on the right; numbers by position below."""

    def __init__(self) -> None:
        self.facts = TextPane(id="compare-facts", classes="framed")
        self.tokens = LineTable(id="compare-tokens", classes="framed")
        self.found = TextPane(id="compare-found", classes="framed")
        self.layers = LineTable(id="compare-layers", classes="framed")
        self.stages = LineTable(id="compare-stages", classes="framed")
        self.course = StepChart(id="compare-course", classes="framed", empty="Nothing is compared.")
        self._shown: Wanted | None = None
        self._said: object = None  # what the facts on the screen are of

    @property
    def shown(self) -> Wanted | None:
        """Whose stages are on the screen."""
        return self._shown

    @property
    def searched(self) -> bool:
        """Whether stages are on the screen."""
        return self.stages.model is not None

    def compose(self) -> ComposeResult:
        yield self.facts
        right = Vertical(self.found, self.layers, self.stages, id="compare-right")
        yield Container(self.tokens, right, id="compare-body")
        yield self.course

    def by_name(self, name: str) -> Widget:
        pane: Widget = getattr(self, name)
        return pane

    def title(self) -> None:
        """Write what each pane is on its frame."""
        for name, title in _TITLES.items():
            self.by_name(name).border_title = title

    def show_nothing(self, why: str) -> None:
        self._said = None
        self.facts.empty = self.tokens.empty = why
        self.tokens.border_subtitle = ""
        self.facts.set_lines([])
        for table in (self.tokens, self.layers, self.stages):
            table.set_model(None)
        self.course.set_series(())

    def show_tokens(self, comparison: Comparison, step: int, glyphs: Glyphs, position: int | None) -> None:
        """Both requests, as of `step`, with the cursor at a position."""
        self.show_found(comparison)
        self.tokens.set_model(AlignedTokens(comparison, step, glyphs))
        self.course.set_series(strips_of(comparison))
        if position is not None:
            self.tokens.show_cursor(position)
            self.course.show_cursor(position)

    def show_found(self, comparison: Comparison) -> None:
        """What is known of distributions by now."""
        said = (comparison, len(comparison.found), comparison.complete)
        if said == self._said:
            return
        self._said = said
        self.facts.set_lines(facts_of(comparison))
        partly = any(each.basis == "top 20" for each in comparison.found.values())
        self.tokens.border_subtitle = OVER_TOP if partly else ""
        self.tokens.refresh()
        self.course.refresh()

    def show_stages(self, of: Wanted | None, found: Divergence | None, glyphs: Glyphs) -> None:
        """What a search found."""
        if of is not None and of == self._shown and self.stages.model is not None:
            return
        self._shown = of
        if found is None:
            self.layers.set_model(None)
            self.stages.set_model(None)
            return
        layers, stages = LayerRows(found, glyphs), StageRows(found, glyphs)
        self.layers.set_model(layers)
        self.layers.show_cursor(layers.first_index)
        self.stages.set_model(stages)
        self.stages.show_cursor(stages.first_index or 0)
        self.stages.border_title = f"stages of row {found.position}"


__all__ = ["ComparePanes"]
