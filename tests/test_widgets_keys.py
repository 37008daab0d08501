"""Keys and the mouse move each pane's cursor and say so once; the app can move it without an echo."""

from __future__ import annotations

import pytest
from textual import on
from textual.geometry import Offset

from tests.widget_gallery import (
    Blocks,
    Heads,
    Lanes,
    Radix,
    Rows,
    Tokens,
    WidgetApp,
    attention,
    marks,
    source_tokens,
)
from workbench.widgets.blockmap import BlockMap
from workbench.widgets.gantt import Gantt, Phase, looks
from workbench.widgets.headgrid import HeatGrid
from workbench.widgets.heatmap import Heatmap, Matrix
from workbench.widgets.messages import Activated, CellMoved, CursorMoved, PaneMessage
from workbench.widgets.pane import LinePane
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import TextPane
from workbench.widgets.timeline import Timeline
from workbench.widgets.tokentext import TokenText
from workbench.widgets.treeview import LineTree


class Listening(WidgetApp):
    """Keeps what the panes say."""

    def __init__(self, *panes: LinePane) -> None:
        super().__init__(*panes)
        self.said: list[PaneMessage] = []

    def on_cursor_moved(self, message: CursorMoved) -> None:
        self.said.append(message)

    def on_cell_moved(self, message: CellMoved) -> None:
        self.said.append(message)

    def on_activated(self, message: Activated) -> None:
        self.said.append(message)

    def indexes(self) -> list[int]:
        return [message.index for message in self.said if isinstance(message, CursorMoved)]

    def cells(self) -> list[tuple[int, int]]:
        return [(message.row, message.column) for message in self.said if isinstance(message, CellMoved)]


async def test_table_keys_mouse_and_silence() -> None:
    table = LineTable(Rows(100))
    app = Listening(table)
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.press("down", "j", "k", "pagedown")
        assert app.indexes() == [1, 2, 1, 11]
        await pilot.click(table, offset=(9, 1))
        assert app.indexes()[-1] == round(table.scroll_y)
        await pilot.press("enter")
        assert isinstance(app.said[-1], Activated)
        app.said.clear()
        table.show_cursor(50)
        await pilot.pause()
        assert table.cursor == 50
        assert not app.said
        assert round(table.scroll_y) <= 50 < round(table.scroll_y) + table.body_height


async def test_a_key_at_the_end_says_nothing() -> None:
    table = LineTable(Rows(1))
    app = Listening(table)
    async with app.run_test() as pilot:
        await pilot.press("up", "down", "end")
        assert not app.said


async def test_the_cursor_stays_inside_a_shorter_model() -> None:
    table = LineTable(Rows(50))
    async with Listening(table).run_test():
        table.show_cursor(49)
        table.set_model(Rows(3))
        assert table.cursor == 2
        table.set_model(Rows(0))
        assert table.copy_text() == ""


async def test_an_empty_pane_has_nothing_to_open() -> None:
    app = Listening(LineTable(None))
    async with app.run_test() as pilot:
        await pilot.press("enter", "down", "end")
        assert not app.said


async def test_handlers_can_ask_for_one_pane() -> None:
    heard: list[int] = []

    class Asking(WidgetApp):
        @on(CursorMoved, "#left")
        def moved(self, message: CursorMoved) -> None:
            heard.append(message.index)

    left, right = LineTable(Rows(9), id="left"), LineTable(Rows(9), id="right")
    async with Asking(left, right).run_test() as pilot:
        left.move_to(3)
        right.move_to(4)
        await pilot.pause()
        assert heard == [3]


async def test_a_double_click_opens() -> None:
    table = LineTable(Rows(9))
    app = Listening(table)
    async with app.run_test() as pilot:
        await pilot.click(table, offset=(9, 3), times=2)
        assert isinstance(app.said[-1], Activated)
        assert table.cursor == 2


async def test_tokens_move_by_token_and_by_line() -> None:
    text = TokenText(Tokens(source_tokens()))
    app = Listening(text)
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.press("l", "right")
        assert app.indexes() == [1, 2]
        await pilot.press("down")
        assert text.layout_lines.line_of(text.cursor) == 1
        await pilot.press("home")
        assert text.cursor == 0
        await pilot.click(text, offset=(text._gutter + 5, 0))
        assert text.model is not None
        assert text.model.text(text.cursor).strip() == "fibonacci"


async def test_block_map_moves_by_block_and_line_and_zooms() -> None:
    view = BlockMap(Blocks(100_000))
    app = Listening(view)
    async with app.run_test(size=(80, 24)) as pilot:
        far = view.grid.per_cell
        assert far > 1
        await pilot.press("right")
        assert app.indexes() == [far]
        await pilot.press("plus", "plus", "plus", "plus", "plus", "plus", "plus", "plus", "plus")
        assert view.grid.per_cell == 1
        assert view.grid.cell_width == 2
        await pilot.press("down")
        assert app.indexes()[-1] == far + view.grid.blocks_per_line
        assert view.click_at(Offset(view.grid.label_width + 2, 0))
        assert view.cursor == 1


async def test_heatmap_cross_reads_exact_values_even_when_pooled() -> None:
    values = attention(400, 400)
    heat = Heatmap(Matrix(values, row_name="q", column_name="k"))
    app = Listening(heat)
    async with app.run_test(size=(80, 24)) as pilot:
        assert heat.window.rows_pooled > 1
        heat.show_cell(123, 45)
        assert f"{float(values[123, 45]):.6g}" in heat.readout()
        heat.show_cell(10, 20)
        assert heat.readout().endswith("masked")
        await pilot.press("right")
        assert app.cells() == [(10, 20 + heat.window.columns_pooled)]
        for _ in range(8):
            heat.action_zoom(1)
        assert heat.window.rows_pooled == heat.window.columns_pooled == 1
        heat.show_cell(399, 399)
        assert heat.glyphs.crosshair in "".join(heat.render_line(y).text for y in range(24))


async def test_clicking_a_cell_puts_the_cross_there() -> None:
    heat = Heatmap(Matrix(attention(12, 12), [f"t{i}" for i in range(12)], [f"t{i}" for i in range(12)]))
    app = Listening(heat)
    async with app.run_test(size=(80, 24)) as pilot:
        width = heat.window.cell_width
        await pilot.click(heat, offset=(heat._gutter + 3 * width, heat.top_lines + 5))
        assert app.cells() == [(5, 3)]


async def test_head_grid_selects_layer_and_head() -> None:
    grid = HeatGrid(Heads(6, 6))
    app = Listening(grid)
    async with app.run_test(size=(80, 30)) as pilot:
        await pilot.press("down", "right", "end")
        assert app.cells() == [(1, 0), (1, 1), (1, 5)]
        tiles = grid.tiles
        assert grid.click_at(Offset(grid._x_of(2, tiles) + 1, 3 * tiles.pitch))
        assert (grid.row, grid.column) == (3, 2)
        assert not grid.click_at(Offset(0, 0))


async def test_gantt_selects_lane_and_step_and_scrolls_in_time() -> None:
    gantt = Gantt(Lanes(5, 400))
    app = Listening(gantt)
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.press("down", "right", "end")
        assert app.cells() == [(1, 0), (1, 1), (1, 399)]
        assert gantt.track.cell_of(399) < gantt.track.cells
        await pilot.press("minus", "minus")
        assert gantt.track.per_cell == 4
        await pilot.press("left")
        assert gantt.column == 395


async def test_without_colour_the_gantts_cursor_hides_no_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    gantt = Gantt(Lanes(5, 40))
    async with Listening(gantt).run_test(size=(80, 12)):
        for lane in range(5):
            shown = "".join(segment.text for segment in gantt.body_line(lane))
            here = shown[gantt._gutter + gantt.track.cell_of(gantt.column)]
            phase = Phase(gantt.model.phases(lane, gantt.column, gantt.column + 1)[0]) if gantt.model else None
            assert phase in (None, Phase.NONE) or here == looks(gantt.glyphs)[phase].mark


async def test_timeline_seeks_by_key_and_click() -> None:
    timeline = Timeline(marks(30))
    timeline.cursor = 29
    app = Listening(timeline)
    async with app.run_test(size=(80, 3)) as pilot:
        await pilot.press("left", "home")
        assert app.indexes() == [28, 0]
        await pilot.click(timeline, offset=(11, 0))
        assert timeline.cursor == 10
        timeline.set_model(marks(30), step=12, live=False)
        assert timeline.copy_text() == "step 12 of 29  PAST"


async def test_every_step_of_a_long_run_can_be_clicked_within_a_cell() -> None:
    timeline = Timeline(marks(1234))
    async with WidgetApp(timeline).run_test(size=(80, 3)):
        cells = timeline.cells
        for step in range(1234):
            start, stop = cells.span(cells.cell_of(step))
            assert start <= step < stop


async def test_tree_unfolds_folds_and_goes_to_the_parent() -> None:
    tree = LineTree(Radix())
    app = Listening(tree)
    async with app.run_test(size=(80, 30)) as pilot:
        assert tree.item_count() == 4
        await pilot.press("down", "right")
        assert tree.item_count() == 7
        await pilot.press("right")
        assert tree.node == 4
        await pilot.press("left")
        assert tree.node == 1
        await pilot.press("left")
        assert tree.item_count() == 4
        tree.reveal([0, 2, 7, 22])
        assert tree.node == 22
        tree.set_model(Radix())
        assert tree.node == 22


async def test_text_selects_paragraphs() -> None:
    pane = TextPane(["one two three four five six", "seven", "eight"], selectable=True)
    app = Listening(pane)
    async with app.run_test(size=(14, 12)) as pilot:
        await pilot.press("j")
        assert app.indexes() == [1]
        assert pane.copy_text() == "seven"
        await pilot.click(pane, offset=(2, 1))
        assert pane.cursor == 0


async def test_selected_text_can_be_copied() -> None:
    pane = TextPane(["alpha beta", "gamma delta"])
    async with WidgetApp(pane).run_test(size=(30, 6)) as pilot:
        await pilot.mouse_down(pane, offset=(7, 0))
        await pilot.hover(pane, offset=(6, 1))
        await pilot.mouse_up(pane, offset=(6, 1))
        assert pilot.app.screen.get_selected_text() == "beta\n gamma"


async def test_a_wheel_scrolls_and_the_cursor_stays() -> None:
    table = LineTable(Rows(100))
    async with WidgetApp(table).run_test(size=(80, 12)) as pilot:
        table.scroll_down(animate=False)
        await pilot.pause()
        assert round(table.scroll_y) == 1
        assert table.cursor == 0
