"""A pane may be drawn between a move of the clock and its next `show`: old models must not break then."""

from __future__ import annotations

from pathlib import Path

from tests.desks import desk_on
from tests.recorded import record_demo
from workbench.record import Record
from workbench.views.blocks import Shown as ShownBlock
from workbench.views.blocks_memory import MemoryTable, RequestMemory
from workbench.views.blocks_pool import NamedPool
from workbench.views.blocks_table import BlockTable
from workbench.views.radix import Shown as ShownTree
from workbench.views.scheduler_lanes import lanes_of
from workbench.widgets.table import TableModel


def test_models_of_a_state_that_was_folded_on_can_be_drawn(tmp_path: Path) -> None:
    record_demo(tmp_path / "run.wbs")
    record = Record.open(tmp_path / "run.wbs")
    desk = desk_on(record)
    for step in range(record.last_step):
        desk.seek(step)
        scene = desk.scene
        tree, block, pool = ShownTree.of(scene), ShownBlock.of(scene), NamedPool(scene.moment, "1", scene.glyphs)
        nodes = [node for node in scene.moment.state.tree.nodes if node]
        tables: list[TableModel] = [
            tree.order,
            block.slots,
            block.history,
            MemoryTable(scene),
            RequestMemory(scene),
        ]
        tables += [BlockTable(scene, live) for live in scene.moment.state.running.values()]
        tables += lanes_of(scene)
        for later in (step + 2, step + 9, record.last_step, step + 1):
            desk.seek(later)
            for table in tables:
                for index in range(len(table)):
                    assert len(table.row(index)) == len(table.columns)
                    table.changed(index)
            for node in nodes:
                assert len(tree.rows.cells(node)) == len(tree.rows.columns)
                tree.rows.label(node)
                tree.rows.children(node)
            for number in range(len(pool)):
                pool.describe(number)
                pool.tag(number)
