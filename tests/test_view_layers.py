"""View 7: numbers are those of the reports and of the looked-at row; what is not known says how to know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from textual.pilot import Pilot

from engine import protocol as pr
from engine.stage_report import Part, Values, Window
from sessions.records import TensorKey, TensorRow
from tests.layers_seen import (
    POINTS,
    SOURCE,
    exact,
    layers_seen,
    passed,
    report,
    shape_of,
    stats_like,
    values_like,
)
from tests.recorded import SHAPE
from tests.sampled import record_sampled
from tests.screens import check_frame, press, screen_text, settle, view_text, workbench_on
from workbench.app import WorkbenchApp
from workbench.bench import EngineStatus, News
from workbench.commands.inside import say_if_held
from workbench.desk import Desk
from workbench.inside import Inside, inside_after
from workbench.inspections import Inspections, LayerLook
from workbench.record import Record
from workbench.selection import Selection
from workbench.views.layers import LayersView
from workbench.views.layers_lens import HeadRows, Lens, LensRows, PartRows
from workbench.views.layers_map import StageMap
from workbench.views.layers_pass import Seen, StageRows, halted_pass
from workbench.views.layers_source import source_lines
from workbench.widgets.glyphs import UNICODE
from workbench.widgets.spans import Bar, plain

SIZES = [(80, 24), (120, 40), (200, 60)]
TOKENS = [4, 5, 6, 4, 5, 7, 4, 8, 9, 4]
CHOSEN = Selection(request="2", position=16, layer=1, head=2)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layers") / "run.wbs"
    record_sampled(path, prompt=TOKENS)
    return path


@dataclass
class Engine:
    """Stands in for the engine: answers looks when told to, and keeps what it was told to do."""

    app: WorkbenchApp
    status: EngineStatus = field(default_factory=lambda: EngineStatus("paused"))
    looks: list[pr.LookLayers] = field(default_factory=list)
    due: list[pr.LookLayers] = field(default_factory=list)
    walked: list[pr.Walking] = field(default_factory=list)
    reply: Callable[[pr.LookLayers], pr.LayersSeen | pr.Reply] | None = None

    def send(self, command: pr.LookLayers) -> int:
        command = msgspec.structs.replace(command, id=len(self.looks) + 1)
        self.looks.append(command)
        self.due.append(command)
        return command.id

    def answer(self) -> None:
        """Let every look that is due be answered."""
        due, self.due = self.due, []
        for command in due:
            made = self.reply or (lambda each: layers_seen(each, self.app.scene.record.token_ids(each.request)))
            self.app.inspections.layers.answered(made(command))
        self.app.note(News.INSPECTION)

    def says(self, message: pr.StageReport) -> None:
        """Report where the pass stands."""
        self.status = replace(self.status, inside=inside_after(self.status.inside, message))
        self.app.note(News.ENGINE)


@pytest.fixture
def engine_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[WorkbenchApp], Engine]:
    def make(app: WorkbenchApp) -> Engine:
        engine = Engine(app)
        app.inspections.send = engine.send  # type: ignore[assignment]
        app.inspections.why_not = lambda: engine.status.why_no_look
        monkeypatch.setattr(type(app), "engine", property(lambda _app: engine.status))
        monkeypatch.setattr(type(app), "walk", lambda _app, command: engine.walked.append(command))
        return engine

    return make


EngineOf = Callable[[WorkbenchApp], Engine]


async def looked(app: WorkbenchApp, pilot: Pilot[int], engine_of: EngineOf, at: Selection = CHOSEN) -> Engine:
    """Open the view on a row, and let the engine answer."""
    engine = engine_of(app)
    app.select(at)
    await press(pilot, "7")
    engine.answer()
    await settle(pilot)
    return engine


def view_of(app: WorkbenchApp) -> LayersView:
    assert isinstance(app.view, LayersView)
    return app.view


def spoken(app: WorkbenchApp) -> str:
    """What is on the screen, frames left out."""
    return " ".join(screen_text(app).replace("│", " ").split())


# -- what is put together ------------------------------------------------------------------------------


def test_reports_add_up_to_what_is_known_of_the_pass() -> None:
    first = inside_after(None, report(None, place="before"))
    assert first == Inside(17, (Part("2", 19, 1),))
    after = inside_after(first, report(3, news=[0, 1, 2, 3]))
    further = inside_after(after, report(5, news=[5]))
    assert further is not None
    assert list(further.passed) == [POINTS[index] for index in (0, 1, 2, 3, 5)]
    assert further.where == f"layer 0 {POINTS[5][1]}"
    assert inside_after(further, report(None, place="abandoned")) is None
    fresh = inside_after(further, report(0, news=[0], step=18))
    assert fresh is not None
    assert list(fresh.passed) == [POINTS[0]], "another step begins anew"


def test_a_closer_look_is_kept_beside_the_map() -> None:
    large = Values(0, 64, 1, 0, 4096, 4, b"\0" * 4 * 64 * 1024)
    standing = inside_after(None, report(1, values=large))
    piece = Values(3, 1, 1, 8, 4, 1, np.arange(4, dtype="<f4").tobytes())
    closer = inside_after(standing, report(1, values=piece))
    assert closer is not None
    assert closer.standing is not None
    assert (closer.standing.values, closer.closer) == (large, piece)
    gone = inside_after(closer, report(2))
    assert gone is not None
    assert gone.closer is None


def test_the_list_has_every_stage_and_numbers_where_it_was_looked_at() -> None:
    inside = inside_after(None, report(4, news=[0, 1, 4]))
    assert inside is not None
    shown = halted_pass(inside, SHAPE.layers, "2")
    assert [(line.layer, line.stage) for line in shown.lines] == POINTS
    assert shown.here == 4
    rows = StageRows(shown)
    told = passed(4, 1)
    stats = told.stats[0]
    assert stats is not None
    cells = [plain(cell) for cell in rows.row(4)]
    assert cells[:3] == ["0", POINTS[4][1], str(list(told.shape))]
    assert f"{stats.rms:.4g}" in cells
    assert f"{stats.largest:.4g}" in cells
    assert [plain(cell) for cell in rows.row(2)][2:] == ["–"] * 8
    assert [rows.changed(index) for index in (3, 4)] == [False, True]


def test_not_a_number_is_counted_in_the_list() -> None:
    inside = inside_after(None, report(0, news=[0], nans=3))
    assert inside is not None
    assert "3 NaN" in [plain(cell) for cell in StageRows(halted_pass(inside, SHAPE.layers, "2")).row(0)]


def lens() -> Lens:
    return Lens(layers_seen(pr.LookLayers(request="1", position=8), TOKENS))


def test_the_parts_add_up_on_the_screen() -> None:
    rows, found = PartRows(lens()), lens().found
    shown = [[plain(cell) for cell in rows.row(index)] for index in range(len(rows))]
    parts = [float(row[at]) for row in shown[: SHAPE.layers + 1] for at in (1, 3) if row[at]]
    assert sum(parts) == pytest.approx(found.logit, abs=0.01)
    ends = {row[0]: row[1] for row in shown[SHAPE.layers + 1 :]}
    assert float(ends["sum"]) + float(ends["rest"]) == pytest.approx(float(ends["logit"]), abs=1e-3)
    assert float(ends["logit"]) == pytest.approx(found.logit, rel=1e-3)


def test_a_bar_is_as_long_as_its_share_and_tells_the_sign() -> None:
    rows, seen = PartRows(lens()), lens()
    for layer in range(SHAPE.layers):
        bars = [cell for cell in rows.row(layer + 1) if isinstance(cell, Bar)]
        for bar, value in zip(bars, (seen.attn[layer], seen.mlp[layer]), strict=True):
            assert bar.fraction == pytest.approx(abs(value) / seen.largest)
            assert bar.ink == ("good" if value >= 0 else "bad")


def test_what_the_heads_leave_of_the_attention_is_shown() -> None:
    seen = lens()
    assert len(HeadRows(seen, 0)) == SHAPE.heads
    with_bias = Lens(msgspec.structs.replace(seen.found, attn=(seen.attn + 1).tobytes()))
    rows = HeadRows(with_bias, 0)
    assert len(rows) == SHAPE.heads + 1
    assert [plain(cell) for cell in rows.row(SHAPE.heads)][:2] == ["rest", "+1.000"]


def test_the_lens_names_the_likeliest_tokens_of_each_depth() -> None:
    seen = lens()
    rows = LensRows(seen, lambda token: f"<{token}>")
    for depth in range(seen.depths):
        cells = [plain(cell) for cell in rows.row(depth)]
        assert cells[-1].startswith(f"'<{seen.ids[depth][0]}>' {seen.probs[depth][0]:.2f}")
        assert cells[1] == str(seen.rank[depth])
    assert plain(rows.row(0)[0]) == "embed"


def test_source_lines_mark_what_ran() -> None:
    outer = replace_source(SOURCE, "Layer.stages", 10, ("def stages(self):", "    a()", "    b()"), (11,))
    shown = source_lines((outer, SOURCE), UNICODE)
    lines = [plain(line) for line in shown.lines]
    assert lines == [
        "engine/model/layer.py  Layer.stages", "  11 ▶     a()", "engine/model/layer.py  Layer._mlp",
        "  40   def _mlp(self, x):", "  41 ▶     h = self.mlp_norm(x)", "  42       return h",
    ]  # fmt: skip
    assert (lines[shown.first], lines[shown.last]) == (lines[4], lines[4])


def replace_source(source, function, start, text, ran):  # type: ignore[no-untyped-def]
    return msgspec.structs.replace(source, function=function, start=start, text=text, ran=ran)


# -- values --------------------------------------------------------------------------------------------

shapes = st.one_of(
    st.tuples(st.integers(1, 5), st.integers(1, 90)),
    st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 9)),
)


@given(st.data(), shapes)
def test_the_value_under_the_cross_is_named_by_its_place(data: st.DataObject, shape: tuple[int, ...]) -> None:
    floats = st.floats(-99, 99, width=32).map(lambda value: round(value, 2))
    values = data.draw(hnp.arrays(np.float32, shape, elements=floats))
    pane = StageMap()
    pane.show_seen(Seen("q", shape, exact(values), 7))
    assert pane.matrix is not None
    pane.row = data.draw(st.integers(0, pane.matrix.values.shape[0] - 1))
    pane.column = data.draw(st.integers(0, pane.matrix.values.shape[1] - 1))
    said = pane.readout()
    if said == "past the end":
        assert np.isnan(pane.matrix.values[pane.row, pane.column])
        return
    words = said.split()
    place = [int(words[1]) - 7, *(int(word) for word in words[2:-1] if word.isdigit())]
    assert float(words[-1]) == pytest.approx(float(values[tuple(place)]), rel=1e-3)


def test_not_a_number_is_brightest_and_named() -> None:
    values = np.array([[1.0, np.nan, -3.0]], np.float32)
    pane = StageMap()
    pane.show_seen(Seen("up", (1, 3), exact(values), 0))
    pane.column = 1
    assert pane.readout() == "row 0 value 1   NaN"
    assert pane.matrix is not None
    assert np.isinf(pane.matrix.values[0, 1])
    assert np.isnan(pane.matrix.values[0, 3:]).all()
    pane.column = 2
    assert pane.readout() == "row 0 value 2   -3"


# -- without a screen ----------------------------------------------------------------------------------


def test_the_text_twin_has_stages_lens_and_parts(session: Path) -> None:
    record = Record.open(session)
    inspections = Inspections(lambda _: 1, lambda: None)
    desk = Desk(record, lambda: EngineStatus("paused"), inspections)
    desk.select(CHOSEN)
    view = LayersView()
    assert "Looking at row 15 again" in view.text(desk.scene, 100)
    command = pr.LookLayers(request="2", position=15, id=1)
    inspections.layers.answered(layers_seen(command, record.token_ids("2")))
    shown = view.text(desk.scene, 100)
    assert "row 15 of request 2, run again (≈ recomputed, logits as recorded)" in shown
    assert "logit lens of row 15" in shown
    assert len([line for line in shown.splitlines() if "resid_post" in line]) == SHAPE.layers
    inside = inside_after(None, report(3, news=[0, 1, 2, 3]))
    desk = Desk(record, lambda: EngineStatus("paused", inside=inside), inspections)
    desk.select(CHOSEN)
    halted = view.text(desk.scene, 100)
    assert "inside step 17: request 2 row 19 (observed, layer 0 k)" in halted
    assert "engine/model/layer.py:41" in halted


# -- a row looked at again -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_frame_of_a_row(session: Path, size: tuple[int, int], engine_of: EngineOf) -> None:
    async with workbench_on(session, size) as (app, pilot):
        await looked(app, pilot, engine_of)
        check_frame(view_text(app), f"views/layers-{size[0]}x{size[1]}")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_frame_inside(session: Path, size: tuple[int, int], engine_of: EngineOf) -> None:
    async with workbench_on(session, size) as (app, pilot):
        engine = engine_of(app)
        app.select(CHOSEN)
        await press(pilot, "7")
        engine.answer()
        engine.says(report(9, news=range(10)))
        await settle(pilot)
        check_frame(view_text(app), f"views/layers-inside-{size[0]}x{size[1]}")


async def test_a_row_is_asked_for_once(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session) as (app, pilot):
        engine = await looked(app, pilot, engine_of)
        await press(pilot, "down", "down", "2", "7")
        assert [look.position for look in engine.looks] == [15]


async def test_a_recording_without_an_engine_says_what_is_missing(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        app.select(CHOSEN)
        await press(pilot, "7")
        assert "L loads the model behind this recording" in spoken(app)


async def test_captured_residuals_need_no_engine(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_on(session) as (app, pilot):
        record = app.scene.record
        token = record.token_row("2", 16)
        assert token is not None
        row = np.random.default_rng(0).normal(0, 2, 32).astype("<f4")
        kept = TensorRow(1, TensorKey(0, token.chosen_step, "2", 1, "resid_post", 15), "F32", row.shape)
        monkeypatch.setattr(type(record.session), "tensors", lambda _self, step, branch=0: [kept])
        monkeypatch.setattr(type(record.session), "tensor_bytes", lambda _self, tensor: row.tobytes())
        app.select(CHOSEN)
        await press(pilot, "7")
        shown = spoken(app)
        stats = stats_like(row[None])
        assert "row 15 of request 2: 1 layer captured" in shown
        assert f"{stats.rms:.4g}" in shown
        assert f"{stats.largest:.4g}" in shown
        assert "values of layer 1 resid_post" in shown
        assert f"norm {stats.norm:.3g}" in shown
        assert "≈" not in shown
        assert "L loads the model" in shown, "the lens needs it"


async def test_logits_that_differ_from_the_record_are_called_out(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session) as (app, pilot):
        engine = engine_of(app)
        engine.reply = lambda command: msgspec.structs.replace(
            layers_seen(command, TOKENS), logits=np.zeros(SHAPE.vocab_size, "<f4").tobytes()
        )
        app.select(CHOSEN)
        await press(pilot, "7")
        engine.answer()
        await settle(pilot)
        assert "off the recorded logits: not what ran" in spoken(app)


async def test_a_refusal_is_shown(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session) as (app, pilot):
        engine = engine_of(app)
        engine.reply = lambda command: pr.Reply(id=command.id, error="out of memory")
        app.select(CHOSEN)
        await press(pilot, "7")
        engine.answer()
        await settle(pilot)
        await press(pilot, "down")
        assert "Out of memory." in spoken(app)
        assert len(engine.looks) == 1


async def test_layers_and_heads_are_selected_for_all_views(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session, (200, 60)) as (app, pilot):
        await looked(app, pilot, engine_of, replace(CHOSEN, layer=0, head=0))
        panes = view_of(app).all_panes
        assert panes.stages.cursor == POINTS.index((0, "resid_post"))
        panes.lens.focus()
        await press(pilot, "down")
        assert app.selection.layer == 1
        assert panes.stages.cursor == POINTS.index((1, "resid_post"))
        assert panes.parts.cursor == panes.course.cursor == 2
        assert "heads of layer 1" in screen_text(app)
        panes.heads.focus()
        await press(pilot, "down", "down")
        assert app.selection.head == 2
        app.select(replace(app.selection, layer=0))
        await settle(pilot)
        assert panes.lens.cursor == 1


async def test_another_tokens_logit_is_taken_apart(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session, (200, 60)) as (app, pilot):
        engine = await looked(app, pilot, engine_of)
        view = view_of(app)
        view.all_panes.lens.focus()
        await press(pilot, "home")
        rows = view.all_panes.lens.model
        assert isinstance(rows, LensRows)
        likeliest = int(rows._lens.ids[0][0])
        await press(pilot, "w")
        engine.answer()
        await settle(pilot)
        assert [look.token for look in engine.looks] == [None, likeliest]
        assert "not chosen" in screen_text(app)
        await press(pilot, "w")
        assert ", chosen" in screen_text(app)
        assert len(engine.looks) == 2, "the chosen one is known already"


async def test_a_prompt_token_was_not_chosen(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session, (200, 60)) as (app, pilot):
        await looked(app, pilot, engine_of, replace(CHOSEN, position=4))
        assert "logit lens of row 3: '<5>', given" in screen_text(app)


async def test_a_fork_switches_off_what_is_under_the_cursor(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session, (200, 60)) as (app, pilot):
        await looked(app, pilot, engine_of)
        view = view_of(app)

        def hint() -> str:
            found = view.fork_hint()
            assert found is not None
            return found.stages

        assert hint() == "layer 1 off"
        view.all_panes.heads.focus()
        await settle(pilot)
        assert hint() == "layer 1 head 2 off"
        view.all_panes.stages.focus()
        await press(pilot, "up")
        assert hint() == "layer 1 mlp off"
        view.all_panes.stages.move_to(POINTS.index((0, "k")))
        await settle(pilot)
        assert hint() == "layer 0 attention off"


async def test_stages_are_searched(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session) as (app, pilot):
        await looked(app, pilot, engine_of)
        assert view_of(app).search("attn_out", 1) == "layer 0 attn_out"
        assert view_of(app).search("nowhere", 1) == "there is no stage 'nowhere'"


# -- inside --------------------------------------------------------------------------------------------


async def test_stepping_follows_the_pass(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session, (200, 60)) as (app, pilot):
        engine = engine_of(app)
        app.select(replace(CHOSEN, layer=0))
        await press(pilot, "7")
        engine.says(report(None, place="before"))
        await settle(pilot)
        assert "inside step 17" in screen_text(app)
        assert "s runs on to the first stage" in spoken(app)
        await press(pilot, "s", "n", "N", "f", "X")
        assert engine.walked == [
            pr.NextStage(request="2"), pr.NextStage(request="2"), pr.NextLayer(request="2"), pr.FinishForward(),
            pr.Abandon(),
        ]  # fmt: skip
        at = POINTS.index((1, "q_rot"))
        engine.says(report(at, news=range(at + 1)))
        await settle(pilot)
        assert app.selection.layer == 1
        assert view_of(app).all_panes.stages.cursor == at
        values = values_like(shape_of("q_rot", 1), at)
        assert f"row 19 head 0 value 0 {values[0, 0, 0]:.4g}" in spoken(app)
        engine.says(report(None, place="finished"))
        await settle(pilot)
        assert "inside step" not in screen_text(app)


async def test_the_stage_under_the_cursor_is_run_to(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session) as (app, pilot):
        engine = engine_of(app)
        app.select(CHOSEN)
        await press(pilot, "7")
        engine.says(report(1, news=[0, 1]))
        await settle(pilot)
        await press(pilot, "down", "down", "t")
        assert engine.walked == [pr.ToStage(layer=0, stage=POINTS[3][1], request="2")]


async def test_another_requests_rows_are_asked_for(session: Path, engine_of: EngineOf) -> None:
    parts = (Part("2", 19, 1), Part("3", 0, 4))
    async with workbench_on(session) as (app, pilot):
        engine = engine_of(app)
        app.select(CHOSEN)
        await press(pilot, "7")
        engine.says(report(1, news=[0, 1], parts=parts))
        await settle(pilot)
        app.select(replace(CHOSEN, request="3", position=None))
        await settle(pilot)
        assert engine.walked == [pr.LookStage(request="3")]
        engine.says(report(1, parts=parts, request="3"))
        await settle(pilot)
        assert "inside step 17: request 3 rows 0–3 of 2 requests" in spoken(app)
        app.select(replace(CHOSEN, request="4", position=None))
        await settle(pilot)
        assert len(engine.walked) == 1, "request 4 is not in the step"


async def test_a_pooled_tile_is_shown_exactly_on_enter(session: Path, engine_of: EngineOf) -> None:
    pooled = Values(0, 2, 1, 0, 32, 4, np.arange(16, dtype="<f4").tobytes())
    async with workbench_on(session, (200, 60)) as (app, pilot):
        engine = engine_of(app)
        app.select(CHOSEN)
        await press(pilot, "7")
        engine.says(report(1, values=pooled, parts=(Part("2", 18, 2),)))
        await settle(pilot)
        panes = view_of(app).all_panes
        panes.values.focus()
        await press(pilot, "right", "down")
        assert "~ largest of its tile, enter shows it exactly" in screen_text(app)
        await press(pilot, "enter")
        assert engine.walked == [pr.LookStage(request="2", window=Window(1, 1, 4, 4))]
        closer = Values(1, 1, 1, 4, 4, 1, np.array([9, -8, 7, 6], "<f4").tobytes())
        engine.says(report(1, values=closer, parts=(Part("2", 18, 2),)))
        await settle(pilot)
        assert "row 19 value 4 9 -8 7 6" in spoken(app)


async def test_keys_of_the_inside_say_why_not(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session) as (app, pilot):
        engine_of(app)
        await press(pilot, "7", "N")
        assert "the engine stands in no forward pass: s steps into the next one" in screen_text(app)


async def test_what_waits_until_the_step_is_over_is_said(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session) as (app, pilot):
        engine = engine_of(app)
        engine.says(report(1, news=[0, 1]))
        await settle(pilot)
        say_if_held(app)
        await settle(pilot)
        assert "queued until step 17 is over" in screen_text(app)


async def test_the_past_shows_its_own_rows(session: Path, engine_of: EngineOf) -> None:
    """A halted pass is of the step to come: it is not shown over a moment that is past."""
    async with workbench_on(session) as (app, pilot):
        engine = engine_of(app)
        app.select(CHOSEN)
        await press(pilot, "7")
        engine.answer()
        engine.says(report(1, news=[0, 1]))
        await settle(pilot)
        assert "inside step 17:" in screen_text(app)
        await press(pilot, "[")
        assert "inside step 17:" not in screen_text(app)
        assert "row 15 of request 2, run again" in screen_text(app)


async def test_faces_take_turns_where_it_is_narrow(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session, (80, 24)) as (app, pilot):
        await looked(app, pilot, engine_of)
        view = view_of(app)
        seen = []
        for _ in range(4):
            seen.append({str(pane.id).removeprefix("layers-") for pane in view.panes()})
            assert view.dropped[-1].endswith("(m turns to it)")
            await press(pilot, "m")
        assert seen == [{"stages", "values"}, {"source"}, {"lens", "course"}, {"parts", "heads"}]
        assert {str(pane.id) for pane in view.panes()} == {"layers-stages", "layers-values"}


async def test_every_face_says_why_it_is_empty(session: Path) -> None:
    async with workbench_on(session, (80, 24)) as (app, pilot):
        app.select(CHOSEN)
        await press(pilot, "7")
        for _ in range(4):
            assert len(list(view_of(app).panes())) == 1
            assert "L loads the model" in spoken(app) or "No lines are known" in spoken(app)
            await press(pilot, "m")


async def test_captured_rows_follow_the_token(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_on(session) as (app, pilot):
        record = app.scene.record
        rows = {15: np.full(32, 3, "<f4"), 16: np.full(32, 7, "<f4")}
        tokens = {position: record.token_row("2", position + 1) for position in rows}

        def kept(_self: object, step: int, branch: int = 0) -> list[TensorRow]:
            return [
                TensorRow(position, TensorKey(branch, step, "2", 1, "resid_post", position), "F32", (32,))
                for position, token in tokens.items()
                if token is not None and token.chosen_step == step
            ]

        monkeypatch.setattr(type(record.session), "tensors", kept)
        monkeypatch.setattr(
            type(record.session), "tensor_bytes", lambda _self, tensor: rows[tensor.key.start].tobytes()
        )
        app.select(CHOSEN)
        await press(pilot, "7")
        assert "row 15 value 0 3 " in spoken(app)
        app.select(replace(CHOSEN, position=17))
        await settle(pilot)
        assert "row 16 value 0 7 " in spoken(app)


async def test_nothing_is_asked_while_the_run_goes_on(session: Path, engine_of: EngineOf) -> None:
    async with workbench_on(session) as (app, pilot):
        engine = engine_of(app)
        engine.status = EngineStatus("running")
        app.select(Selection(request="2"))
        await press(pilot, "7")
        assert not engine.looks
        assert "The run goes on." in spoken(app)


def test_looks_are_called_as_on_the_screen() -> None:
    """The engine behind a recording has names of its own for its requests."""
    inspections = Inspections(lambda _: 5, lambda: None)
    look = LayerLook("7", 8)
    inspections.layers.ask(look)
    command = pr.LookLayers(request="1", position=8, id=5)
    inspections.layers.answered(layers_seen(command, TOKENS))
    result = inspections.layers.get(look).result
    assert result is not None
    assert result.request == "7"
