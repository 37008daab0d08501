"""View 5: the tree, the path, the end of a match and the order of eviction are those of the folded state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine import events as ev
from engine.kv.radix import ROOT
from engine.params import RequestSpec
from engine.reasons import Diverged
from sessions.header import Header
from tests.desks import desk_on
from tests.recorded import engine_on, header, record_demo, writer_on
from tests.screens import check_frame, press, screen_text, view_text, workbench_on
from tests.scripted import spec
from tests.widget_gallery import NASTY
from workbench.app import WorkbenchApp
from workbench.bench import Scene
from workbench.record import Record
from workbench.views.radix import RadixView, Shown
from workbench.views.radix_match import SideBySide, latest_match
from workbench.views.radix_path import request_path
from workbench.views.radix_tree import RadixRows, edge_ids
from workbench.views.victims import next_victims
from workbench.widgets.cells import cell_len
from workbench.widgets.spans import plain
from workbench.widgets.treeview import LineTree

SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("radix") / "run.wbs"
    record_demo(path)
    return path


@pytest.fixture(scope="module")
def record(session: Path) -> Record:
    return Record.open(session)


def record_run(path: Path, about: Header, *requests: RequestSpec) -> Record:
    """A session in which requests run one after the other."""
    writer = writer_on(path, about)
    engine = engine_on(writer, about)
    for request in requests:
        engine.submit(request)
        engine.run()
    writer.close()
    return Record.open(path)


def scenes(record: Record) -> Iterator[Scene]:
    """Every moment of the run, with one request after the other selected."""
    desk = desk_on(record, 0)
    for step in range(record.last_step + 1):
        desk.seek(step)
        arrived = [row.request for row in desk.moment.requests]
        desk.select(replace(desk.selection, request=arrived[step % len(arrived)], node=None))
        yield desk.scene


def step_of(record: Record, kind: type[ev.Event]) -> int:
    """The first step with such an event."""
    steps = (
        step for step in range(record.last_step + 1) for row in record.events_of(step) if type(row.event) is kind
    )
    return next(steps)


def view_of(app: WorkbenchApp) -> RadixView:
    assert isinstance(app.view, RadixView)
    return app.view


# -- what is shown is so ---------------------------------------------------------------------------------


def test_an_edge_carries_the_tokens_that_hash_to_its_blocks(record: Record) -> None:
    from engine.kv.radix import chain_hash

    for scene in scenes(record):
        state = scene.moment.state
        for node in state.tree.nodes.values():
            ids = edge_ids(state, record.token_ids, node.id)
            assert len(ids) == len(node.blocks) * state.blocks.block_size
            before = (
                0 if node.parent in (ROOT, -1) else state.blocks.hash[state.tree.nodes[node.parent].blocks[-1]]
            )
            for offset, block in enumerate(node.blocks):
                part = ids[offset * state.blocks.block_size :][: state.blocks.block_size]
                before = chain_hash(before, part)
                assert before == state.blocks.hash[block]


def test_next_victims_are_what_eviction_then_takes(record: Record) -> None:
    """An eviction in the next step takes blocks in the order that was shown before it."""
    seen = 0
    for scene in scenes(record):
        evicted = [
            row.event for row in record.events_of(scene.moment.step + 1) if isinstance(row.event, ev.Evicted)
        ]
        first = next(iter(record.events_of(scene.moment.step + 1)), None)
        if not evicted or first is None or not isinstance(first.event, ev.Evicted):
            continue
        shown = [victim.block for victim in next_victims(scene.moment.state, 100)]
        assert list(evicted[0].blocks) == shown[: len(evicted[0].blocks)]
        seen += 1
    assert seen or step_of(record, ev.Evicted)


def test_every_evictable_block_is_in_the_order_and_no_held_one(record: Record) -> None:
    for scene in scenes(record):
        state = scene.moment.state
        order = [victim.block for victim in next_victims(state, 10_000)]
        assert len(set(order)) == len(order)
        assert all(state.blocks.state(block) == "cached" for block in order)


def test_the_lit_path_holds_the_requests_tokens(record: Record) -> None:
    for scene in scenes(record):
        request, state = scene.selection.request, scene.moment.state
        assert request is not None
        path = request_path(scene)
        ids = [token for node in path.nodes for token in edge_ids(state, record.token_ids, node)]
        mine = list(record.token_ids(request))[: path.tokens]
        assert ids[: len(mine)] == mine


def test_rows_say_who_holds_a_node_and_whether_it_is_protected(record: Record) -> None:
    for scene in scenes(record):
        shown, refs = Shown.of(scene), scene.moment.state.blocks.ref_count
        for node in scene.moment.state.tree.nodes.values():
            if node.id == ROOT:
                continue
            cells = [plain(cell) for cell in shown.rows.cells(node.id)]
            assert cells[1] == str(len(node.blocks) * scene.moment.state.blocks.block_size)
            assert (cells[-1] == "protected") == bool(refs[node.blocks[-1]])
            assert shown.rows.changed(node.id) == (shown.rows.what_changed(node.id) is not None)


def test_changes_are_named(record: Record) -> None:
    for kind, word in ((ev.Split, "split"), (ev.Cached, "new")):
        desk = desk_on(record, step_of(record, kind))
        rows = RadixRows(desk.scene, (), {})
        assert word in {rows.what_changed(node) for node in desk.moment.changes.nodes}


# -- why a match ended -----------------------------------------------------------------------------------


def test_both_tokens_stand_side_by_side_where_a_match_diverged(tmp_path: Path) -> None:
    common = list(range(10))
    record = record_run(
        tmp_path / "run.wbs",
        header(64, block_size=4),
        spec([*common, 11, 12, 13], 2),
        spec([*common, 21, 22, 23], 2),
    )
    desk = desk_on(record, record.last_step)
    desk.select(replace(desk.selection, request="2"))
    match = latest_match(desk.scene)
    assert match is not None
    assert isinstance(match.end, Diverged)
    assert (match.event.tokens, match.position) == (8, 10)
    rows = SideBySide(desk.scene, match)
    shown = [[plain(cell) for cell in rows.row(at)] for at in range(len(rows))]
    assert [row[0] for row in shown] == ["7", "8", "9", "10", "11", "12"]  # the prompt, no more
    assert shown[2][1:] == ["'<9>'", "=", "'<9>'"]
    assert shown[3][1:] == ["'<21>'", "✗", "'<11>'"]
    assert "at position 10 the prompt has '<21>' where cached block" in RadixView().text(desk.scene, 110)


def test_the_cached_side_is_what_the_block_held_then(tmp_path: Path) -> None:
    """Looked at from the end of the run, when the block was evicted and taken by another."""
    common, large = list(range(10)), spec([3] * 26, 2)
    record = record_run(
        tmp_path / "run.wbs",
        header(8, block_size=4),
        spec([*common, 11, 12], 2),
        spec([*common, 21, 22], 2),
        large,
    )
    desk = desk_on(record, record.last_step)
    desk.select(replace(desk.selection, request="2"))
    match = latest_match(desk.scene)
    assert match is not None
    assert isinstance(match.end, Diverged)
    given = record.block_given_out(match.end.block, record.last_step)
    assert given is not None
    assert given.request == "3"
    assert match.cached[match.end.position - match.start] == match.end.cached == 11


def test_a_match_is_of_the_moment_and_known_ones_are_kept(record: Record) -> None:
    for scene in scenes(record):
        match = latest_match(scene)
        assert match is None or match.step <= scene.moment.step
        if match is not None:
            assert latest_match(scene, match) is match


def test_every_reason_that_occurs_can_be_shown(record: Record) -> None:
    view = RadixView()
    for scene in scenes(record):
        text = view.text(scene, 100)
        assert all(cell_len(line) <= 100 for line in text.splitlines())
        assert f"match of request {scene.selection.request}" in text


def test_a_cache_that_is_off_says_so(tmp_path: Path) -> None:
    record = record_run(tmp_path / "run.wbs", header(64, prefix_cache=False), spec(range(40), 2))
    desk = desk_on(record, record.last_step)
    text = RadixView().text(desk.scene, 100)
    assert "The prefix cache is off" in text
    assert "0 nodes" in text


def test_an_empty_tree_says_when_it_grows(record: Record) -> None:
    assert "a block enters the tree when its 4 tokens are computed" in RadixView().text(
        desk_on(record, 0).scene, 100
    )


# -- on the screen ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_frame(session: Path, record: Record, size: tuple[int, int]) -> None:
    async with workbench_on(session, size) as (app, pilot):
        app.seek(step_of(record, ev.Split))
        await press(pilot, "5")
        check_frame(view_text(app), f"views/radix-{size[0]}x{size[1]}")


async def test_moving_in_the_tree_selects_nodes_and_their_first_block(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(step_of(record, ev.Split))
        await press(pilot, "5", "home", "down")
        node = app.selection.node
        assert node == app.query_one(LineTree).node
        assert app.selection.block == app.scene.moment.state.tree.nodes[node or 0].blocks[0]
        assert f"node {node}" in screen_text(app)
        await press(pilot, "enter")
        assert app.view is not None
        assert app.view.view_name == "blocks"


async def test_what_a_person_folded_stays_folded(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(step_of(record, ev.Split))
        await press(pilot, "5", "home")
        tree = app.query_one(LineTree)
        before = tree.item_count()
        parent = next(
            node
            for node in tree.visible_nodes.nodes
            if tree.model and tree.model.children(node)  # type: ignore[union-attr]
        )
        app.select(replace(app.selection, node=parent))
        await press(pilot, "minus")
        assert tree.item_count() < before
        await press(pilot, "]", "[")
        assert parent not in tree.unfolded


async def test_the_order_of_eviction_selects_nodes_and_t_goes_to_the_match(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        busy = next(scene.moment.step for scene in scenes(record) if len(Shown.of(scene).order.groups) > 1)
        app.seek(busy)
        await press(pilot, "5")
        app.query_one("#radix-order").focus()
        await press(pilot, "home", "down")
        groups = Shown.of(app.scene).order.groups
        assert app.selection.node in [going.node for going in groups]
        app.select(replace(app.selection, request=next(iter(app.scene.moment.state.running))))
        await press(pilot, "t")
        match = latest_match(app.scene)
        assert match is not None
        assert app.scene.moment.step == match.step
        assert app.selection.position == match.position


async def test_search_finds_a_node_by_number_or_text(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(step_of(record, ev.Split))
        await press(pilot, "5", "home")
        last = app.query_one(LineTree).visible_nodes.nodes[-1]  # type: ignore[union-attr]
        assert view_of(app).search(str(last), 1) == f"node {last}"
        assert app.selection.node == last
        assert view_of(app).search("<3>", 1).startswith("node")
        assert view_of(app).search("nowhere", 1) == "no unfolded node begins with 'nowhere'"


async def test_hostile_token_texts_stay_harmless(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_on(session) as (app, pilot):
        session_class = type(app.scene.record.session)
        monkeypatch.setattr(session_class, "token_text", lambda _self, token: NASTY[token % len(NASTY)])
        app.scene.record._texts.clear()
        app.seek(12)
        await press(pilot, "5")
        shown = screen_text(app)
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert all(strip.cell_length == 120 for strip in app.screen._compositor.render_strips())


async def test_a_wide_tree_asks_for_what_is_on_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five hundred prompts that share nothing: labels and cells are made for the lines shown."""
    about = header(2_048, block_size=1, token_budget=2_048, max_running=512)
    writer = writer_on(tmp_path / "run.wbs", about)
    engine = engine_on(writer, about)
    for number in range(500):
        engine.submit(spec([number % 50, number // 50], 1))
    engine.run()
    writer.close()
    asked: list[int] = []
    label = RadixRows.label
    monkeypatch.setattr(RadixRows, "label", lambda self, node: (asked.append(node), label(self, node))[1])
    async with workbench_on(tmp_path / "run.wbs") as (app, pilot):
        await press(pilot, "5")
        assert app.query_one(LineTree).item_count() >= 50
        assert len(set(asked)) < 100
        asked.clear()
        await press(pilot, "pagedown")
        assert len(set(asked)) < 100
