"""View 3: weights are those of the inspection, what is recomputed says so, and the engine is asked once a row."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from textual.pilot import Pilot

from engine import protocol as pr
from engine.kv.pool import KVPool
from engine.params import SamplingParams
from engine.sanitise import display_text
from engine.state import State
from engine.tokens import Asked, TokenLog
from sessions.records import TensorKey, TensorRow
from tests import inspecting
from tests.inspecting import with_inspections
from tests.recorded import SHAPE
from tests.sampled import inspection, logits_after, record_sampled
from tests.screens import check_frame, press, screen_text, settle, workbench_on
from tests.test_view_tokens import show_every_token_as
from tests.widget_gallery import NASTY
from workbench.app import WorkbenchApp
from workbench.bench import EngineStatus, News
from workbench.desk import Desk
from workbench.inspections import Inspections
from workbench.record import Record
from workbench.selection import Selection
from workbench.views.attention import AttentionView
from workbench.views.attention_data import MEASURES, Heads, Labels
from workbench.views.attention_models import GridOfHeads, StrongestKeys, full_scale
from workbench.widgets.spans import plain

SIZES = [(80, 24), (120, 40), (200, 60)]
LOOK = pr.Inspect(request="1", position=9, rows=10, layer=1, head=2, grid=4)
TOKENS = [4, 5, 6, 4, 5, 7, 4, 8, 9, 4]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("attention") / "run.wbs"
    record_sampled(path, prompt=TOKENS)
    return path


@pytest.fixture
def heads() -> Heads:
    return Heads(inspection(LOOK, TOKENS), TOKENS)


def text(token: int) -> str:
    return f"<{token}>"


async def inspected(app: WorkbenchApp, pilot: Pilot[int], at: Selection) -> inspecting.Asked:
    """Open the view on a row that is then inspected."""
    asked = with_inspections(app)
    app.select(at)
    await press(pilot, "3")
    asked.answer()
    await settle(pilot)
    return asked


def view_of(app: WorkbenchApp) -> AttentionView:
    assert isinstance(app.view, AttentionView)
    return app.view


# -- the numbers ---------------------------------------------------------------------------------------


def test_the_row_of_every_head_sums_to_one(heads: Heads) -> None:
    assert heads.rows.shape == (SHAPE.layers, SHAPE.heads, 10)
    np.testing.assert_allclose(heads.rows.sum(-1), 1, atol=1e-5)


def test_later_keys_are_masked_in_the_large_map(heads: Heads) -> None:
    assert heads.focus.shape == (10, 10)
    assert np.array_equal(np.isnan(heads.focus), np.triu(np.ones((10, 10), bool), 1))
    np.testing.assert_array_equal(heads.focus[-1], heads.rows[1, 2])


def test_a_map_of_some_rows_is_masked_from_its_own_positions() -> None:
    some = Heads(inspection(pr.Inspect(request="1", position=9, rows=3, grid=4), TOKENS), TOKENS)
    assert np.isnan(some.focus).sum() == 3
    assert np.isnan(some.focus[0, 8:]).all()


def test_an_induction_head_is_one_that_looks_behind_earlier_copies(heads: Heads) -> None:
    assert heads.followers == [1, 4, 7]
    expected = heads.rows[..., [1, 4, 7]].sum(-1)
    np.testing.assert_allclose(heads.measure("induction"), expected, rtol=1e-6)
    np.testing.assert_allclose(heads.measure("previous"), heads.rows[..., 8], rtol=1e-6)


def test_the_first_row_has_nothing_before_it() -> None:
    first = Heads(inspection(pr.Inspect(request="1", position=0, grid=4), TOKENS), TOKENS[:1])
    assert first.measure("previous").sum() == first.measure("induction").sum() == 0
    assert "entropy" in first.note(0, 0)


def test_a_head_in_numbers(heads: Heads) -> None:
    seen = heads.rows[1, 2]
    distance = (seen * np.arange(9, -1, -1)).sum()
    assert f"sink {seen[0]:.2f}" in heads.note(1, 2)
    assert f"mean distance {distance:.1f}" in heads.note(1, 2)


def test_pooled_rows_name_ranges_and_keep_quiet_about_single_positions() -> None:
    pooled = Heads(inspection(LOOK, TOKENS, pool=4), TOKENS)
    assert pooled.rows.shape[-1] == 3
    assert "induction" not in pooled.note(0, 0)
    assert np.isnan(pooled.measure("previous")).all()
    keys = StrongestKeys(pooled, pooled.weights(0, 0), text)
    assert {keys.row(index)[2] for index in range(len(keys))} <= {"0–3", "4–7", "8–9"}
    assert keys.summary == "~ largest of every 4 positions"


def test_the_strongest_keys_come_in_order_and_say_what_they_are(heads: Heads) -> None:
    weights = heads.weights(1, 2)
    keys = StrongestKeys(heads, weights, text)
    shown = [key.weight for key in keys.keys]
    assert shown == sorted(map(float, weights), reverse=True)[: len(shown)]
    assert f"{len(keys)} of 10 keys hold" in keys.summary
    said = {0: " sink", 1: " induction", 4: " induction", 7: " induction", 9: " itself"}
    for index, key in enumerate(keys.keys):
        assert plain(keys.row(index)[4]) == f"'<{TOKENS[key.position]}>'" + said.get(key.position, "")


def test_the_average_is_of_the_heads_of_one_layer(heads: Heads) -> None:
    np.testing.assert_allclose(heads.weights(1, 0, average=True), heads.rows[1].mean(0), rtol=1e-6)


def test_the_first_token_does_not_set_the_scale() -> None:
    assert full_scale(np.array([0.9, 0.02, 0.08], np.float32)) == pytest.approx(0.08)
    assert full_scale(np.array([1.0], np.float32)) == 1.0


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_every_measure_gives_shades_from_0_to_1(heads: Heads, measure: object) -> None:
    grid = GridOfHeads(heads, 2, measure)  # type: ignore[arg-type]
    values = np.array([grid.values(layer, head).max() for layer in range(2) for head in range(4)])
    assert (values >= 0).all()
    assert (values <= 1).all()


def test_labels_read_only_what_is_asked_for() -> None:
    read: list[int] = []
    labels = Labels(range(1_000_000), lambda token: (read.append(token), f"t{token}")[1], 10, 500_000, 2)
    assert (labels[3], labels[-0:1], len(labels)) == ("t16", ["t10"], 500_000)
    assert read == [16, 10]


def test_the_bundled_model_answers_as_the_view_reads_it() -> None:
    """The same arrays from a real inspection: shapes, sums, the masked map and the recorded logits."""
    from engine.inspection import Inspector
    from tests.bundled import decoder

    log = TokenLog()
    tokens = [17, 300, 42, 17, 300, 42, 17, 300]
    log.add("1", tokens, Asked(len(tokens), SamplingParams()))
    config = decoder().config
    inspector = Inspector(decoder(), KVPool(config, 4, 16, decoder().dtype), State(4, 16), log)
    wanted = pr.Inspect(request="1", position=7, rows=8, layer=2, head=1, grid=4)
    heads = Heads(inspector.inspect(wanted), tokens)
    np.testing.assert_allclose(heads.rows.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(heads.focus[-1], heads.rows[2, 1], atol=1e-6)
    np.testing.assert_allclose(np.nansum(heads.focus, -1), 1, atol=1e-5)
    assert heads.inspection.check < 1e-4
    assert heads.followers == [2, 5]
    row = heads.rows[3, 4]
    np.testing.assert_allclose(heads.measure("distance")[3, 4], (row * np.arange(7, -1, -1)).sum(), rtol=1e-4)


# -- without a screen ----------------------------------------------------------------------------------


def test_the_text_twin_lists_every_head_and_how_far_it_is_from_the_record(session: Path) -> None:
    record = Record.open(session)
    inspections = Inspections(lambda _: 1, lambda: None)
    desk = Desk(record, lambda: EngineStatus("paused"), inspections)
    desk.select(Selection(request="2", position=14, layer=1))
    view = AttentionView()
    assert "Looking at row 13 again" in view.text(desk.scene, 100)
    look, _ = next(iter(inspections._answers.items()))
    command = pr.Inspect(request="2", position=13, rows=look.rows, layer=1, grid=look.grid, id=1)
    inspections.answered(inspection(command, record.token_ids("2")))
    shown = view.text(desk.scene, 100)
    assert "≈ recomputed, logits as recorded" in shown
    assert "≈ pattern·V within 3e-07 of attn_out" in shown
    assert len([line for line in shown.splitlines() if line[:10].split() and line[:10].split()[0].isdigit()]) >= 8
    assert "layer 1 head 0" in shown


# -- on the screen -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_frame(session: Path, size: tuple[int, int]) -> None:
    async with workbench_on(session, size) as (app, pilot):
        await inspected(app, pilot, Selection(request="2", position=16, layer=1, head=2))
        view = screen_text(app).split("\n", 2)[2].rsplit("\n", 5)[0]
        check_frame(view + "\n", f"views/attention-{size[0]}x{size[1]}")


async def test_a_recording_without_an_engine_says_what_is_missing(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "3")
        shown = " ".join(screen_text(app).replace("│", " ").split())
        assert "What a head attends to was not captured (--capture attn)" in shown
        assert "L loads the model behind this recording" in shown
        assert view_of(app).text_pane.item_count() == 22


async def test_arrows_in_the_grid_select_layer_and_head(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        asked = await inspected(app, pilot, Selection(request="2", position=16))
        await press(pilot, "down", "right")
        assert (app.selection.layer, app.selection.head) == (1, 1)
        assert "Looking at layer 1 head 1" in screen_text(app)
        asked.answer()
        await settle(pilot)
        asked.answer()
        await settle(pilot)
        view = view_of(app)
        assert view.head_map.matrix is not None
        assert "layer 1 head 1" in str(view.head_map.border_title)
        await press(pilot, ">", ">", ">")
        assert (app.selection.layer, app.selection.head) == (1, 3), "it stops at the last head"
        await press(pilot, "<", "<", "<", "<")
        assert (app.selection.layer, app.selection.head) == (0, 3)


async def test_holding_a_key_down_asks_for_one_row_at_a_time(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        asked = with_inspections(app)
        app.select(Selection(request="2", position=16))
        await press(pilot, "3")
        view_of(app).text_pane.focus()
        await press(pilot, "left", "left", "left", "left")
        assert [command.position for command in asked.commands] == [15]
        asked.answer()
        await settle(pilot)
        assert [command.position for command in asked.commands] == [15, 11]
        assert "row 15 (row 11 is on its way)" in screen_text(app)
        asked.answer()
        await settle(pilot)
        assert "is on its way" not in screen_text(app)
        assert len(asked.commands) == 2


async def test_an_answer_is_kept_and_not_asked_for_twice(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        asked = await inspected(app, pilot, Selection(request="2", position=16))
        await press(pilot, "2", "3", "m", "v", "v")
        assert len(asked.commands) == 1


async def test_a_refusal_is_shown_and_not_repeated(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        asked = with_inspections(app, lambda command: pr.Reply(id=command.id, error="out of memory"))
        await press(pilot, "3")
        asked.answer()
        await settle(pilot)
        await press(pilot, "m")
        assert "Out of memory." in screen_text(app)
        assert len(asked.commands) == 1


async def test_a_run_that_goes_on_is_not_looked_at(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_on(session) as (app, pilot):
        asked = with_inspections(app)
        asked.run(monkeypatch)
        await press(pilot, "3")
        assert not asked.commands
        assert "The run goes on." in screen_text(app)


async def test_logits_that_differ_from_the_record_are_called_out(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        asked = with_inspections(
            app,
            lambda command: replace_logits(inspection(command, app.scene.record.token_ids(command.request))),
        )
        app.select(Selection(request="2", position=16))
        await press(pilot, "3")
        asked.answer()
        await settle(pilot)
        assert "off the recorded logits: not what ran" in screen_text(app)


def replace_logits(answer: pr.Inspection) -> pr.Inspection:
    import msgspec

    return msgspec.structs.replace(answer, logits=logits_after([1, 1, 1]).tobytes())


async def test_a_long_row_says_that_it_is_pooled(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        asked = with_inspections(app)
        asked.reply = lambda command: inspection(command, app.scene.record.token_ids("2"), pool=4)
        app.select(Selection(request="2", position=16))
        await press(pilot, "3")
        asked.answer()
        await settle(pilot)
        shown = screen_text(app)
        assert "~ pooled ×4" in shown
        assert "~ largest of every 4 positions" in shown
        view = view_of(app)
        view.head_map.focus()
        await press(pilot, "home", "right")
        assert "key 4" in screen_text(app), "columns are named by the first position they stand for"


async def test_captured_rows_need_no_engine(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_on(session) as (app, pilot):
        record = app.scene.record
        token = record.token_row("2", 16)
        assert token is not None
        row = np.random.default_rng(0).dirichlet(np.ones(16), SHAPE.heads).astype("<f4")
        key = TensorKey(0, token.chosen_step, "2", 1, "attn_pattern", 15)
        kept = TensorRow(1, key, "F32", row.shape)
        monkeypatch.setattr(type(record.session), "tensors", lambda _self, step, branch=0: [kept])
        monkeypatch.setattr(type(record.session), "tensor_bytes", lambda _self, tensor: row.tobytes())
        app.select(Selection(request="2", position=16, layer=1, head=2))
        await press(pilot, "3")
        shown = screen_text(app)
        assert "as captured in the run" in shown
        assert "≈" not in shown
        model = view_of(app).keys.model
        assert isinstance(model, StrongestKeys)
        assert model.keys[0].weight == pytest.approx(float(row[2].max()))
        await press(pilot, "up", "m", "v", "v")
        assert "layer 0 head 2  not captured" in screen_text(app)
        assert not view_of(app).keys.item_count()
        app.select(Selection(request="2", position=17))
        await settle(pilot)
        assert "there is no engine to ask" in screen_text(app)


async def test_enter_drills_in_where_it_is_narrow_and_esc_comes_back(session: Path) -> None:
    async with workbench_on(session, (80, 24)) as (app, pilot):
        await inspected(app, pilot, Selection(request="2", position=16))
        view = view_of(app)
        assert view.dropped == ["the head's map (enter shows it)"]
        await press(pilot, "enter")
        assert view.head_map.has_focus
        assert not view.query_one("#attention-left").display
        assert view.dropped == ["all heads (esc shows them)"]
        await press(pilot, "escape")
        assert view.grid.has_focus
        assert app.view is view


async def test_keys_in_the_list_move_the_cross_and_enter_goes_there(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await inspected(app, pilot, Selection(request="2", position=16))
        view = view_of(app)
        view.keys.focus()
        await press(pilot, "down")
        model = view.keys.model
        assert isinstance(model, StrongestKeys)
        assert view.head_map.column == model.keys[1].position
        await press(pilot, "enter")
        assert app.selection.position == model.keys[1].position


async def test_enter_on_the_large_map_shows_that_row(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await inspected(app, pilot, Selection(request="2", position=16))
        await press(pilot, "enter", "up", "up", "enter")
        assert app.selection.position == 14


async def test_a_click_selects_a_head_and_a_token(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await inspected(app, pilot, Selection(request="2", position=16))
        view = view_of(app)
        tiles = view.grid.tiles
        at = view.grid._x_of(3, tiles) + 2
        await pilot.click(view.grid, offset=(at, 1 + 2 + tiles.pitch))
        await settle(pilot)
        assert (app.selection.layer, app.selection.head) == (1, 3)
        await pilot.click(view.text_pane, offset=(6, 1))
        await settle(pilot)
        assert app.selection.position == 0


async def test_the_measures_are_named(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        asked = with_inspections(app)
        await press(pilot, "3")
        asked.answer()
        await settle(pilot)
        for measure in (*MEASURES[1:], MEASURES[0]):
            await press(pilot, "m")
            assert f"heads: {measure.title}" in screen_text(app)
        await press(pilot, "v")
        assert "mean of 4 heads" in screen_text(app)
        assert "~ mean of maps pooled" in screen_text(app)


async def test_hostile_tokens_stay_text(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_on(session) as (app, pilot):
        asked = with_inspections(app)
        app.select(Selection(request="2", position=20))
        await press(pilot, "3")
        asked.answer()
        for nasty in NASTY:
            show_every_token_as(nasty, app, monkeypatch)
            view_of(app)._shown = None
            app.note(News.ALL)
            await settle(pilot)
            assert all(strip.cell_length == 120 for strip in app.screen._compositor.render_strips())
            shown = screen_text(app)
            assert not set(shown) & set("\x1b\r\u202e\u200b\u200d")
            assert f"'{display_text(nasty)}'" in shown


async def test_many_heads_and_a_long_row_are_shown_in_time(session: Path) -> None:
    """32 layers of 32 heads over 2,048 columns: what a show costs is what is on the screen."""
    async with workbench_on(session) as (app, pilot):
        layers, many, columns, grid = 32, 32, 2048, 12
        rng = np.random.default_rng(0)
        row = rng.dirichlet(np.full(columns, 0.1), (layers, many)).astype("<f4")

        def large(command: pr.Inspect) -> pr.Inspection:
            flat = rng.random((layers, many), np.float32).tobytes()
            return pr.Inspection(
                id=command.id, request=command.request, position=command.position, layer=command.layer,
                head=command.head, rows=1, layers=layers, heads=many, kv=command.position + 1, pool=1,
                grid_size=grid, logits=logits_after(()).tobytes(), row=row[..., : command.position + 1].tobytes(),
                focus=row[0, 0, : command.position + 1].tobytes(),
                grid=rng.random((layers, many, grid, grid), np.float32).tobytes(),
                head_entropy=flat, head_sink=flat, head_distance=flat, check=0.0, reused=0, prefilled=0,
            )  # fmt: skip

        asked = with_inspections(app, large)
        app.select(Selection(request="2", position=16))
        await press(pilot, "3")
        asked.answer()
        await settle(pilot)
        view = view_of(app)
        view._shown = None
        began = time.perf_counter()
        view.show(app.scene, app._news)
        assert time.perf_counter() - began < 0.1
