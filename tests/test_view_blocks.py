"""View 4: the map, the tables and the account agree with the folded state, and the history with the record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine import events as ev
from engine.ids import request_of
from engine.state import State
from tests.desks import desk_on
from tests.recorded import record_demo
from tests.screens import check_frame, press, screen_text, settle, view_text, workbench_on
from tests.widget_gallery import NASTY
from workbench.app import WorkbenchApp
from workbench.bench import Scene
from workbench.record import Record
from workbench.views.blocks import BlocksView
from workbench.views.blocks_history import BlockHistory
from workbench.views.blocks_memory import MemoryTable, memory_of, per_token
from workbench.views.blocks_pool import NamedPool
from workbench.views.blocks_slots import Slots
from workbench.views.blocks_table import BlockTable
from workbench.views.holders import holders
from workbench.views.sizes import share, written_bytes
from workbench.widgets.blockmap import CHANGED, LIT, BlockMap
from workbench.widgets.cells import cell_len
from workbench.widgets.spans import plain
from workbench.widgets.table import LineTable

SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blocks") / "run.wbs"
    record_demo(path)
    return path


@pytest.fixture(scope="module")
def record(session: Path) -> Record:
    return Record.open(session)


def scenes(record: Record) -> Iterator[Scene]:
    """Every moment of the run, with a request that lives in it selected."""
    desk = desk_on(record, 0)
    for step in range(record.last_step + 1):
        desk.seek(step)
        running = list(desk.moment.state.running)
        if running:
            desk.select(replace(desk.selection, request=running[step % len(running)]))
        yield desk.scene


def busy_step(record: Record) -> int:
    """A step in which a block is shared and another is cached."""
    for scene in scenes(record):
        state = scene.moment.state
        if state.blocks.cached and max(state.blocks.ref_count) > 1 and len(state.running) > 2:
            return scene.moment.step
    raise AssertionError("the demo shares and caches")


def view_of(app: WorkbenchApp) -> BlocksView:
    assert isinstance(app.view, BlocksView)
    return app.view


# -- what is shown is so ---------------------------------------------------------------------------------


def test_holders_are_those_whose_tables_list_the_block(record: Record) -> None:
    for scene in scenes(record):
        state = scene.moment.state
        for block in range(state.blocks.num_blocks):
            listed = [request.id for request in state.requests.values() if block in request.table]
            assert sorted(holders(state, block)) == sorted(listed)


def test_the_account_of_memory_balances_and_counts_every_slot_once(record: Record) -> None:
    for scene in scenes(record):
        state, size = scene.moment.state, scene.moment.state.blocks.block_size
        memory = memory_of(state, scene.record.about)
        tables = [block for request in state.requests.values() for block in request.table]
        assert memory.pool == state.blocks.num_blocks * size
        assert memory.owned == len(set(tables)) * size
        assert memory.saved == (len(tables) - len(set(tables))) * size
        assert memory.filled == sum(state.blocks.fill[block] for block in set(tables))
        assert memory.wasted >= 0
        assert memory.filled + memory.promised + memory.wasted == memory.owned
        assert memory.whole_context == len(state.running) * scene.record.about.shape.max_context


def test_bytes_of_a_token_are_explained_only_where_the_product_is_right(record: Record) -> None:
    shape = record.about.shape
    assert shape.kv_bytes_per_token == 2 * shape.layers * shape.kv_heads * shape.head_dim * 4
    assert per_token(record.about) == "256 B = K, V × 2 layers × 2 KV heads × 8 × 4 B"


def test_a_block_table_maps_positions_to_the_tokens_of_the_request(record: Record) -> None:
    for scene in scenes(record):
        live = scene.moment.live_request(scene.selection.request)
        if live is None or not live.table:
            continue
        table, ids = BlockTable(scene, live), record.token_ids(live.id)
        size = scene.moment.state.blocks.block_size
        for index in range(len(table)):
            cells = [plain(cell) for cell in table.row(index)]
            assert cells[:2] == [str(index), str(live.table[index])]
            if scene.moment.state.blocks.fill[live.table[index]]:
                assert record.token_text(ids[index * size]) in cells[-1]
            assert table.index_of(live.table[index]) == index


def test_slots_name_the_step_and_the_request_that_computed_them(record: Record) -> None:
    """Against a fold, event by event, of who wrote what into which slot."""
    desk = desk_on(record, 0)
    about = record.about
    state = State.at_start(about.num_blocks, about.options)
    truth: list[dict[int, tuple[int, str]]] = [{} for _ in range(about.num_blocks)]
    for step in range(record.last_step + 1):
        for row in record.events_of(step):
            state.apply(row.event)
            note_writes(state, row.event, truth)
        desk.seek(step)
        blocks = desk.moment.state.blocks
        for block in range(blocks.num_blocks):
            slots = Slots(desk.scene, block, record.latest_block_changes(block, step, 100))
            wrote = truth[block] if blocks.fill[block] else {}
            assert slots.steps == wrote


def note_writes(state: State, event: ev.AnyEvent, truth: list[dict[int, tuple[int, str]]]) -> None:
    """Keep who wrote each position into which block since it was given out."""
    if isinstance(event, ev.Allocated):
        for block in event.blocks:
            truth[block].clear()
    elif isinstance(event, ev.Copied):
        truth[event.block].clear()
    elif isinstance(event, ev.Computed):
        for work in event.batch:
            table = state.requests[work.request].table
            for position in range(work.start, work.stop):
                block = table[position // state.blocks.block_size]
                truth[block][position] = (event.step, work.request)


def test_the_tokens_in_a_shared_block_are_those_of_the_sample_that_went_on_in_it(record: Record) -> None:
    for scene in scenes(record):
        blocks, size = scene.moment.state.blocks, scene.moment.state.blocks.block_size
        for live in scene.moment.state.running.values():
            for index, block in enumerate(live.table):
                writer = record.token_ids(request_of(blocks.writer[block]))
                start, fill = index * size, min(blocks.fill[block], live.computed - index * size)
                mine = record.token_ids(live.id)[start : start + fill]
                assert list(writer[start : start + fill]) == list(mine)


def test_the_history_ends_with_the_state_the_block_is_in(record: Record) -> None:
    for scene in scenes(record):
        state = scene.moment.state
        for block in range(state.blocks.num_blocks):
            changes = record.latest_block_changes(block, scene.moment.step, 3)
            assert len(changes) <= 3
            assert all(change.step <= scene.moment.step for change in changes)
            if changes:
                assert changes[0].state == state.blocks.state(block)
                assert changes[0].ref_count == state.blocks.ref_count[block]
            rows = BlockHistory(changes, scene.moment.step)
            assert all(
                rows.changed(at) == (change.step == scene.moment.step) for at, change in enumerate(changes)
            )


def test_the_map_lights_the_table_and_marks_what_changed(record: Record) -> None:
    for scene in scenes(record):
        pool = NamedPool(scene.moment, scene.selection.request, scene.glyphs)
        states = pool.states(0, len(pool))
        live = scene.moment.live_request(scene.selection.request)
        table = set(live.table) if live else set()
        for block, byte in enumerate(states):
            assert bool(byte & LIT) == (block in table)
            assert bool(byte & CHANGED) == (block in scene.moment.changes.blocks)
            assert cell_len(pool.tag(block)) <= pool.tag_width
            assert str(block) in pool.describe(block)


def test_a_shared_block_says_by_how_many_and_an_owned_one_by_whom(record: Record) -> None:
    scene = desk_on(record, busy_step(record)).scene
    refs = scene.moment.state.blocks.ref_count
    pool = NamedPool(scene.moment, None, scene.glyphs)
    for block, count in enumerate(refs):
        names = holders(scene.moment.state, block)
        assert pool.tag(block) == ("" if not count else f"×{count}" if count > 1 else names[0])


def test_bytes_and_shares_are_written_shortly() -> None:
    assert [written_bytes(n) for n in (0, 512, 3072, 49152, 1 << 21)] == [
        "0 B", "512 B", "3.0 KiB", "48 KiB", "2.0 MiB",
    ]  # fmt: skip
    assert [share(1, 0), share(0, 9), share(1, 1000), share(1, 2)] == ["–", "0%", "<1%", "50%"]


def test_text_says_it_all_without_a_screen(record: Record) -> None:
    view = BlocksView()
    for scene in scenes(record):
        text = view.text(scene, 100)
        assert all(cell_len(line) <= 100 for line in text.splitlines())
        assert "saved by sharing" in text


def test_a_request_without_blocks_says_why(record: Record) -> None:
    desk = desk_on(record, 0)
    desk.select(replace(desk.selection, request="1"))
    assert "not arrived" in BlocksView().text(desk.scene, 90) or "WAITING" in BlocksView().text(desk.scene, 90)
    desk.seek(record.last_step)
    assert "has ended and gave its blocks back" in BlocksView().text(desk.scene, 90)


# -- on the screen ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_frame(session: Path, record: Record, size: tuple[int, int]) -> None:
    async with workbench_on(session, size) as (app, pilot):
        app.seek(busy_step(record))
        app.select(replace(app.selection, request=next(iter(app.scene.moment.state.running))))
        await press(pilot, "4")
        check_frame(view_text(app), f"views/blocks-{size[0]}x{size[1]}")


async def test_moving_on_the_map_selects_blocks_and_their_nodes(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(busy_step(record))
        await press(pilot, "4", "right")
        assert app.selection.block is not None
        block = app.selection.block
        await press(pilot, "right", "down")
        assert app.selection.block not in (None, block)
        node = app.scene.moment.state.blocks.node[app.selection.block or 0]
        assert app.selection.node == (None if node < 0 else node)
        assert f"block {app.selection.block}" in screen_text(app)


async def test_a_row_of_the_table_selects_its_block(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(busy_step(record))
        live = next(iter(app.scene.moment.state.running.values()))
        app.select(replace(app.selection, request=live.id))
        await press(pilot, "4", "tab", "end")
        assert app.selection.block == live.table[-1]
        table = app.query_one("#blocks-table", LineTable)
        await pilot.click(table, offset=(9, 2))
        await settle(pilot)
        assert app.selection.block == live.table[0]


async def test_t_goes_to_the_last_change_and_enter_in_the_history_to_that_moment(
    session: Path, record: Record
) -> None:
    async with workbench_on(session) as (app, pilot):
        step = busy_step(record)
        app.seek(step)
        quiet = next(
            block
            for block in range(record.about.num_blocks)
            if (found := record.latest_block_changes(block, step, 9)) and found[0].step < step
        )
        app.select(replace(app.selection, block=quiet))
        await press(pilot, "4", "t")
        last = record.latest_block_changes(quiet, step, 9)[0]
        assert app.scene.moment.step == last.step == app.selection.step
        assert app.selection.block == quiet
        app.query_one("#blocks-history").focus()
        await press(pilot, "end", "enter")
        assert app.scene.moment.step == record.latest_block_changes(quiet, step, 9)[-1].step


async def test_enter_on_a_slot_opens_its_token(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(busy_step(record))
        live = next(iter(app.scene.moment.state.running.values()))
        app.select(replace(app.selection, request=live.id, block=live.table[0]))
        await press(pilot, "4")
        app.query_one("#blocks-slots").focus()
        await press(pilot, "down", "down", "enter")
        assert app.selection.position == 2
        assert app.selection.own_row
        assert app.view is not None
        assert app.view.view_name == "tokens"


async def test_m_shows_the_account_of_memory_where_there_is_no_room_for_it(session: Path, record: Record) -> None:
    async with workbench_on(session, (80, 24)) as (app, pilot):
        app.seek(busy_step(record))
        await press(pilot, "4")
        assert "saved by sharing" not in screen_text(app)
        await press(pilot, "m")
        assert "saved by sharing" in screen_text(app)
        assert "KV pool" not in screen_text(app)
        await press(pilot, "escape")
        assert "saved by sharing" not in screen_text(app)
        assert "KV pool" in screen_text(app)


async def test_a_token_says_which_part_of_the_table_its_row_read(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(busy_step(record))
        live = next(iter(app.scene.moment.state.running.values()))
        app.select(replace(app.selection, request=live.id, position=5))
        await press(pilot, "4")
        assert "row 4 reads index 0 to 1" in screen_text(app)
        assert app.query_one("#blocks-slots", LineTable).cursor == 0


async def test_search_goes_to_a_block(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "4")
        assert view_of(app).search("7", 1) == "block 7"
        assert app.selection.block == 7
        assert "from 0 to 13" in view_of(app).search("99", 1)


async def test_hostile_token_texts_stay_harmless(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_on(session) as (app, pilot):
        session_class = type(app.scene.record.session)
        monkeypatch.setattr(session_class, "token_text", lambda _self, token: NASTY[token % len(NASTY)])
        app.scene.record._texts.clear()
        app.seek(12)
        await press(pilot, "4")
        shown = screen_text(app)
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert all(strip.cell_length == 120 for strip in app.screen._compositor.render_strips())


# -- large -----------------------------------------------------------------------------------------------


class LargePool:
    """A hundred thousand blocks; counts what is asked one by one."""

    tag_width = 4

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        return 100_000

    def states(self, start: int, stop: int) -> bytes:
        return bytes(stop - start)

    def describe(self, index: int) -> str:
        return f"block {index}"

    def tag(self, index: int) -> str:
        self.asked += 1
        return str(index)[:4]


async def test_only_tags_on_the_screen_are_asked_for(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "4")
        pane, pool = app.query_one("#blocks-map", BlockMap), LargePool()
        pane.set_model(pool)
        await pilot.pause()
        assert pool.asked == 0
        pane.focus()
        await press(pilot, *["+"] * 12)
        assert pane.grid.cell_width == 6
        assert 0 < pool.asked < 5_000


def test_memory_rows_have_one_scale(record: Record) -> None:
    table = MemoryTable(desk_on(record, busy_step(record)).scene)
    assert len(table) >= 8
    assert plain(table.row(0)[0]) == "in block tables"
