"""Large models cost only what is on screen."""

from __future__ import annotations

import subprocess
import sys

from tests.widget_gallery import Blocks, Heads, Lanes, Radix, Rows, Tokens, WidgetApp
from workbench.widgets.blockmap import BlockMap
from workbench.widgets.gantt import Gantt
from workbench.widgets.headgrid import HeatGrid
from workbench.widgets.table import LineTable
from workbench.widgets.timeline import StepMark, Timeline
from workbench.widgets.tokentext import TokenText
from workbench.widgets.treenodes import VisibleNodes
from workbench.widgets.treeview import LineTree

SIZE = (80, 24)

IMPORT_ALL = """
import importlib, pkgutil, sys, workbench.widgets as widgets
for module in pkgutil.iter_modules(widgets.__path__, "workbench.widgets."):
    importlib.import_module(module.name)
print([name for name in ("numpy", "torch", "transformers", "sqlite3") if name in sys.modules])
"""


def test_importing_the_panes_imports_nothing_slow() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_table_of_ten_million_rows_reads_the_rows_on_screen() -> None:
    rows = Rows(10_000_000)
    table = LineTable(rows)
    async with WidgetApp(table).run_test(size=SIZE) as pilot:
        await pilot.press("end")
        assert table.cursor == 9_999_999
        assert len(rows.read) <= 3 * SIZE[1]
        assert "9999999" in table.copy_text()


async def test_a_gantt_of_many_lanes_reads_the_lanes_on_screen() -> None:
    lanes = Lanes(100_000, 1_000_000)
    gantt = Gantt(lanes)
    async with WidgetApp(gantt).run_test(size=SIZE) as pilot:
        await pilot.press("end", "pagedown")
        assert gantt.column == 999_999
        assert lanes.read < 6 * SIZE[1]


async def test_moving_in_a_long_text_lays_nothing_out_again() -> None:
    tokens = Tokens([f" word{index}" for index in range(30_000)])
    text = TokenText(tokens)
    async with WidgetApp(text).run_test(size=SIZE) as pilot:
        tokens.read = 0
        await pilot.press("end", "left")
        assert text.cursor == 29_998
        assert tokens.read < 4000


async def test_a_new_token_lays_out_one_token() -> None:
    texts = [f" word{index}" for index in range(30_000)]
    tokens = Tokens(texts)
    text = TokenText(tokens)
    async with WidgetApp(text).run_test(size=SIZE):
        layout = text.layout_lines
        texts.append(" more")
        tokens.read = 0
        layout.fit_to(len(texts))
        assert tokens.read == 1


async def test_a_zoomed_block_map_reads_the_blocks_on_screen() -> None:
    blocks = Blocks(100_000)
    view = BlockMap(blocks)
    async with WidgetApp(view).run_test(size=SIZE) as pilot:
        view.action_zoom(20)
        await pilot.pause()
        blocks.read = 0
        for y in range(SIZE[1]):
            view.render_line(y)
        assert blocks.read < SIZE[0] * SIZE[1]


async def test_head_maps_are_made_once() -> None:
    heads = Heads(24, 14)
    grid = HeatGrid(heads)
    async with WidgetApp(grid).run_test(size=SIZE) as pilot:
        before = heads.read
        assert before < 24 * 14
        await pilot.press("right", "left")
        assert heads.read == before


async def test_a_timeline_of_a_million_steps_asks_once_a_cell() -> None:
    asked: list[tuple[int, int]] = []

    class Steps:
        def __len__(self) -> int:
            return 1_000_000

        def strongest(self, start: int, stop: int) -> StepMark:
            asked.append((start, stop))
            return StepMark.DECODE

    timeline = Timeline(Steps())
    async with WidgetApp(timeline).run_test(size=SIZE):
        asked.clear()
        timeline.render_line(0)
        assert len(asked) < SIZE[0]
        assert asked[0][0] == 0
        assert asked[-1][1] == 1_000_000


def test_folding_a_tree_of_a_hundred_thousand_nodes_touches_no_other_node() -> None:
    class Counting(Radix):
        asked = 0

        def children(self, node: int) -> range:
            self.asked += 1
            first = node * self.fan + 1
            return range(first, min(first + self.fan, self.count))

    model = Counting(100_000)
    visible = VisibleNodes(model, set(range(100_000)))
    assert len(visible) == 100_000
    model.asked = 0
    visible.fold(1)
    visible.unfold(1)
    assert model.asked < 50_000
    small = VisibleNodes(Counting(200), set(range(200)))
    small.fold(1)
    small.unfold(1)
    assert small.nodes == VisibleNodes(Counting(200), small.unfolded | {1}).nodes


async def test_a_tree_draws_the_nodes_on_screen() -> None:
    labelled: list[int] = []

    class Watched(Radix):
        def label(self, node: int) -> str:
            labelled.append(node)
            return f"node {node}"

    tree = LineTree(Watched(100_000))
    tree.unfolded = set(range(100_000))
    tree.set_model(tree.model)
    async with WidgetApp(tree).run_test(size=SIZE) as pilot:
        await pilot.press("end")
        assert tree.cursor == 99_999
        assert len(labelled) <= 4 * SIZE[1]
