"""Every line of every pane is exactly as wide as the pane, whatever the text, the size and the glyphs."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from textual.geometry import Size

from tests.widget_gallery import (
    FACTS,
    NASTY,
    SHARES,
    Blocks,
    Heads,
    Lanes,
    Radix,
    Rows,
    Tokens,
    Wave,
    WidgetApp,
    attention,
    marks,
)
from workbench.widgets.bars import Part
from workbench.widgets.blockmap import BlockMap
from workbench.widgets.budgetbar import BudgetBar
from workbench.widgets.cdfbar import CdfBar, Share
from workbench.widgets.gantt import Gantt
from workbench.widgets.headgrid import HeatGrid
from workbench.widgets.heatmap import Heatmap, Matrix
from workbench.widgets.pane import LinePane
from workbench.widgets.sparkline import StepChart
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import DetailPane, Fact, TextPane
from workbench.widgets.timeline import Timeline
from workbench.widgets.tokentext import TokenText
from workbench.widgets.treeview import LineTree

SIZES = [Size(1, 1), Size(5, 3), Size(17, 4), Size(40, 9), Size(80, 24), Size(200, 60)]


class NastyLanes(Lanes):
    def label(self, lane: int) -> str:
        return NASTY[lane % len(NASTY)] * 3


def budget_bar() -> BudgetBar:
    bar = BudgetBar()
    bar.set_parts([Part(1, "decode"), Part(0, "decode"), Part(64, "prefill"), Part(3, "decode")], 128)
    return bar


def cdf_bar() -> CdfBar:
    bar = CdfBar()
    bar.set_draw([*SHARES, *(Share(text, 0.0001) for text in NASTY)], 0.99)
    return bar


def labelled_heatmap() -> Heatmap:
    return Heatmap(Matrix(attention(26, 26), NASTY * 2, NASTY * 2, "q", "k"))


def long_heatmap() -> Heatmap:
    return Heatmap(Matrix(attention(500, 700), NASTY * 50, NASTY * 60, scale="sqrt"))


def chart() -> StepChart:
    return StepChart([Wave(text, "prefill", 0, 90, float) for text in NASTY[:4]])


def tree() -> LineTree:
    view = LineTree(Radix(), title="日本" * 9)
    view.unfolded |= {1, 2, 4}
    view.set_model(view.model)
    return view


PANES: dict[str, Callable[[], LinePane]] = {
    "table": lambda: LineTable(Rows(50)),
    "tokens": lambda: TokenText(Tokens([*NASTY, "\n", "long" * 30] * 9, 20, 40)),
    "blocks": lambda: BlockMap(Blocks(3000)),
    "gantt": lambda: Gantt(NastyLanes(14, 140)),
    "heatmap": labelled_heatmap,
    "long heatmap": long_heatmap,
    "head grid": lambda: HeatGrid(Heads(4, 9)),
    "timeline": lambda: Timeline(marks(500)),
    "budget bar": budget_bar,
    "cdf bar": cdf_bar,
    "chart": chart,
    "tree": tree,
    "text": lambda: TextPane(NASTY, selectable=True),
    "detail": lambda: DetailPane([*FACTS, *(Fact(text, text * 9) for text in NASTY)]),
    "empty": lambda: LineTable(None, empty="No requests yet: press p to send one. " + "".join(NASTY[:9])),
}


@pytest.mark.parametrize("ascii_glyphs", [False, True], ids=["unicode", "ascii"])
@pytest.mark.parametrize("name", PANES)
async def test_lines_are_as_wide_as_the_pane_and_harmless(
    name: str, ascii_glyphs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pane = PANES[name]()
    async with WidgetApp(pane, ascii_glyphs=ascii_glyphs).run_test(size=(80, 24)):
        for size in SIZES:
            monkeypatch.setattr(LinePane, "size", size)
            pane.on_resize()
            for y in range(size.height):
                strip = pane.render_line(y)
                assert cell_len(strip.text) == pane.body_width == strip.cell_length, (size, y, strip.text)
                assert not {unicodedata.category(character) for character in strip.text} & {"Cc", "Cf", "Cs"}


@pytest.mark.parametrize(
    "name", ["blocks", "gantt", "head grid", "long heatmap", "timeline", "chart", "budget bar"]
)
async def test_ascii_panes_draw_ascii(name: str) -> None:
    pane = PANES[name]() if name != "gantt" else Gantt(Lanes(14, 140))
    if name == "long heatmap":
        pane = Heatmap(Matrix(attention(500, 700), scale="sqrt"))
    if name == "chart":
        pane = StepChart([Wave("waiting", "prefill", 0, 90, float)])
    async with WidgetApp(pane, ascii_glyphs=True).run_test(size=(80, 24)):
        text = "".join(pane.render_line(y).text for y in range(pane.size.height))
        assert text.isascii(), sorted(set(text))


@pytest.mark.parametrize("theme", ["workbench-light", "ansi-dark", "nord"])
async def test_panes_draw_in_any_theme(theme: str) -> None:
    panes = [make() for make in PANES.values()]
    async with WidgetApp(*panes, theme=theme).run_test(size=(80, 60)):
        assert all(pane.render_line(0).cell_length == pane.body_width for pane in panes)
