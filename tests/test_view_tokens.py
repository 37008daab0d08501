"""View 2: the stages say what the sampler did, the draw lies where it was recorded, and nothing is made up."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from textual.geometry import Size

from engine.details import LOG_SOFTMAX, StageResult, TokenDetails
from engine.explain import explain
from engine.params import SamplingParams
from engine.sampling import SamplerRow, choose
from engine.sanitise import display_text
from sessions.records import TensorKey, TensorRow
from tests.desks import desk_on
from tests.inspecting import with_inspections
from tests.recorded import record_demo
from tests.sampled import SETTINGS, logits_after, record_sampled
from tests.screens import check_frame, press, screen_text, settle, workbench_on
from tests.scripted import VOCAB
from tests.widget_gallery import NASTY
from workbench.app import WorkbenchApp
from workbench.bench import News
from workbench.record import Record
from workbench.selection import Selection
from workbench.views.request_text import SHADINGS, RequestText
from workbench.views.tokens import TokensView
from workbench.views.tokens_course import NONE, course_of
from workbench.views.tokens_draw import drawn_from
from workbench.views.tokens_facts import choice_notes
from workbench.views.tokens_layout import Wanted, left_out
from workbench.views.tokens_layout import shown as panes_shown
from workbench.views.tokens_pane import row_text
from workbench.views.tokens_settings import FIELDS, stepped, value_text
from workbench.views.tokens_stages import Pipeline
from workbench.views.tokens_trying import draw_title
from workbench.views.tokens_whatif import Reworked, rework_choice

SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "run.wbs"
    record_sampled(path)
    return path


@pytest.fixture
def record(session: Path) -> Record:
    return Record.open(session)


def text(token: int) -> str:
    return f"<{token}>"


def chosen(params: SamplingParams, vocab: int = 500, seed: int = 0) -> TokenDetails:
    logits = np.random.default_rng(seed).normal(0, 3, (1, vocab)).astype(np.float32)
    rows = [SamplerRow("1", params, 5, 0, 9)]
    return explain(logits, rows, choose(logits, rows))[0]


def view_of(app: WorkbenchApp) -> TokensView:
    assert isinstance(app.view, TokensView)
    return app.view


def text_at(record: Record, **selection: object) -> str:
    desk = desk_on(record)
    desk.select(Selection(request="2"))
    desk.select(replace(desk.selection, **selection))  # type: ignore[arg-type]
    return TokensView().text(desk.scene, 110)


# -- the stages ----------------------------------------------------------------------------------------


def test_every_removed_candidate_says_which_stage_and_why() -> None:
    details = chosen(SamplingParams(temperature=0.7, top_k=15, top_p=0.8, min_p=0.02))
    pipeline = Pipeline(details, text, 500)
    for index, row in enumerate(pipeline.rows):
        stage = details.candidates.removing_stage(index)
        assert row.removed == (stage is not None)
        assert not row.removed or pipeline.stages[len(row.cells) - 1].name == stage.replace("_", "-")  # type: ignore[union-attr]
        assert (row.probability > 0) != row.removed
    reasons = {row.why.split()[0] for row in pipeline.rows if row.removed}
    assert reasons == {"rank", "cumulative"}
    assert [stage.kept for stage in pipeline.stages] == [result.kept for result in details.stages]


def test_min_p_says_both_probabilities() -> None:
    pipeline = Pipeline(chosen(SamplingParams(temperature=1.0, min_p=0.3)), text, 500)
    removed = next(row for row in pipeline.rows if row.removed)
    assert "= 0.3 × the largest" in removed.why


def test_a_penalty_marks_the_logits_it_changed_and_the_ranks_that_moved() -> None:
    details = chosen(SamplingParams(temperature=0.9, logit_bias={7: 9.0}))
    pipeline = Pipeline(details, text, 500)
    marked = [row.token for row in pipeline.rows if row.cells[0].moved]
    assert marked == [token for token in details.candidates.ids if token == 7]
    assert all(row.cells[1].moved == 0 for row in pipeline.rows), "temperature moves nothing"
    assert sum(row.fell for row in pipeline.rows) == 0


def test_a_chosen_token_beyond_the_twenty_shows_its_true_rank() -> None:
    details = chosen(SamplingParams(logit_bias={499: 40.0}))
    pipeline = Pipeline(details, text, 500)
    row = pipeline.rows[pipeline.chosen]
    assert (len(pipeline), row.token, row.rank) == (21, 499, details.rank)
    assert row.rank > 20
    assert row.fell < 0


def test_what_is_not_shown_is_counted() -> None:
    details = chosen(SamplingParams(temperature=2.0, top_k=100))
    rest = Pipeline(details, text, 500).rest
    mass = 1 - sum(details.candidates.prob)
    assert rest == f"100 of 500 candidates kept; 80 of them are not shown and hold {mass:.3g} of the probability"


def test_a_row_as_text_has_every_stage() -> None:
    details = chosen(SamplingParams(temperature=0.7, top_k=3))
    pipeline = Pipeline(details, text, 500)
    assert row_text(pipeline, 0).startswith(f"rank 1  '<{details.candidates.ids[0]}>'  logit")
    assert row_text(pipeline, 19).endswith("✗ top-k: rank 20 > 3")


# -- the draw ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=3.0, top_k=200),
        SamplingParams(temperature=0.8, top_p=0.9),
        SamplingParams(temperature=1.5, logit_bias={5: 3.0, 450: 8.0}),
    ],
    ids=["plain", "flat", "top-p", "biased"],
)
def test_the_interval_is_as_recorded_and_all_fill_the_line(params: SamplingParams, seed: int) -> None:
    details = chosen(params, seed=seed)
    drawn = drawn_from(details, text)
    assert drawn is not None
    assert details.interval is not None
    assert details.draw is not None
    edges = np.cumsum([0.0, *(share.probability for share in drawn.shares)])
    assert edges[-1] == pytest.approx(1.0)
    assert (edges[drawn.chosen], edges[drawn.chosen + 1]) == pytest.approx(details.interval, abs=1e-12)
    assert edges[drawn.chosen] <= details.draw < edges[drawn.chosen + 1]
    assert all(share.probability >= 0 for share in drawn.shares)
    row = drawn.rows[drawn.chosen]
    assert row is not None
    assert details.candidates.ids[row] == details.token


def test_places_are_marked_where_unseen_candidates_may_stand_between() -> None:
    assert drawn_from(chosen(SamplingParams(temperature=3.0)), text).exact  # type: ignore[union-attr]
    biased = drawn_from(chosen(SamplingParams(temperature=3.0, logit_bias={5: 3.0})), text)
    assert biased is not None
    assert not biased.exact
    assert drawn_from(chosen(SamplingParams()), text) is None


# -- what if -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_id", ["1", "2", "3", "4"])
def test_the_recorded_settings_choose_the_recorded_token(record: Record, request_id: str) -> None:
    params = SETTINGS[int(request_id) - 1]
    ids = record.token_ids(request_id)
    for position in range(10, len(ids)):
        recorded = record.details(request_id, position)
        again = rework_choice(record, request_id, position, logits_after(ids[:position]).tobytes(), params)
        assert isinstance(again, Reworked)
        assert again.worst == 0.0
        assert again.details == recorded


def test_other_settings_use_the_same_draw(record: Record) -> None:
    ids = record.token_ids("2")
    logits = logits_after(ids[:12]).tobytes()
    hot = rework_choice(record, "2", 12, logits, SamplingParams(temperature=3.0, seed=5))
    greedy = rework_choice(record, "2", 12, logits, SamplingParams())
    assert isinstance(hot, Reworked)
    assert isinstance(greedy, Reworked)
    recorded = record.details("2", 12)
    assert recorded is not None
    assert hot.details.draw == recorded.draw
    assert greedy.details.draw is None
    assert greedy.details.rank == 1


def test_a_prompt_token_is_compared_with_what_would_have_been_chosen(record: Record) -> None:
    logits = logits_after(record.token_ids("2")[:4])
    result = rework_choice(record, "2", 4, logits.tobytes(), SETTINGS[1])
    assert isinstance(result, Reworked)
    assert result.given is not None
    assert result.worst is None
    token = record.token_ids("2")[4]
    assert (result.given.token, result.given.rank) == (token, int((logits > logits[token]).sum()) + 1)
    assert result.given.logprob == pytest.approx(float(logits[token] - np.log(np.exp(logits).sum())), abs=1e-5)


@pytest.mark.parametrize("request_id", ["2", "3"])
def test_the_next_token_can_be_worked_out_before_it_is_chosen(record: Record, request_id: str) -> None:
    ids = record.token_ids(request_id)
    logits = logits_after(ids[:15]).tobytes()
    params = SETTINGS[int(request_id) - 1]
    peek = rework_choice(record, request_id, 15, logits, params)
    assert isinstance(peek, Reworked)
    assert peek.details.token == ids[15]


def test_logits_that_are_not_those_of_the_run_are_found_out(record: Record) -> None:
    other = rework_choice(record, "2", 12, logits_after([1, 2, 3]).tobytes(), SETTINGS[1])
    assert isinstance(other, Reworked)
    assert other.worst is not None
    assert other.worst > 1


def test_every_setting_steps_up_and_down_and_stays_valid() -> None:
    for field in FIELDS:
        params = SamplingParams(temperature=0.8, top_k=7, top_p=0.93, min_p=0.03)
        for direction in (1, -1):
            for _ in range(100):
                params = stepped(params, field, direction)
            end = field.ladder[-1 if direction > 0 else 0]
            assert math.isclose(getattr(params, field.name), end)
    assert stepped(SamplingParams(top_k=7), FIELDS[1], 1).top_k == 10
    assert value_text(FIELDS[0], 0) == "greedy"
    assert value_text(FIELDS[2], 1.0) == "off"


# -- the text ------------------------------------------------------------------------------------------


class Counting:
    """A record of one long request that counts what is read of it."""

    def __init__(self, count: int) -> None:
        self.ids = range(count)
        self.read = 0

    def token_ids(self, _request: str) -> range:
        return self.ids

    def token_text(self, token: int) -> str:
        return f" t{token}"

    def token_rows(self, _request: str, start: int, stop: int) -> list[object]:
        self.read += stop - start
        return []


def test_a_long_text_reads_what_is_on_the_screen() -> None:
    counting = Counting(1_000_000)
    model = RequestText(counting, "1", 1_000_000, 10, 0)  # type: ignore[arg-type]
    for index in range(500_000, 500_200):
        model.shade(index)
    assert counting.read <= 3 * 128
    assert model.shade(5) is None, "prompt tokens have no shade"


def test_search_spans_tokens_and_goes_round() -> None:
    model = RequestText(Counting(50), "1", 50, 0, 0)  # type: ignore[arg-type]
    assert model.find("t7 t8", 0, 1) == 7
    assert model.find("t7", 30, 1) == 7
    assert model.find("t4", 30, -1) == 4
    assert model.find("t49", 3, -1) == 49
    assert model.find("nothing", 3, 1) is None


def test_the_chart_has_nothing_over_the_prompt(record: Record) -> None:
    text = RequestText(record, "2", 22, 10, 0)
    surprise, entropy = course_of(text)
    rows = [record.token_row("2", position) for position in range(10, 22)]
    assert surprise.values(0, 10) == [NONE] * 10
    assert entropy.values(10, 99) == [row.entropy for row in rows if row]
    assert (surprise.written(NONE), surprise.written(1.5)) == ("–", "1.50")


# -- the layout ----------------------------------------------------------------------------------------


def test_a_small_window_keeps_the_stages_and_says_what_it_left_out() -> None:
    wanted = Wanted(choice=True, draw=True)
    small = panes_shown(wanted, Size(80, 18))
    assert [name for name, on in small.items() if on] == ["tokens-text", "tokens-stages"]
    assert left_out(wanted, Size(80, 18)) == ["the chart", "the facts", "the draw"]
    assert not left_out(wanted, Size(120, 34))
    assert left_out(wanted, Size(100, 24)) == ["the chart", "the facts"]
    trying = Wanted(choice=True, draw=True, trying=True, redraw=True)
    assert not panes_shown(trying, Size(80, 18))["tokens-text"]
    assert left_out(trying, Size(120, 34)) == ["the recorded stages"]
    assert not left_out(trying, Size(200, 54))


# -- as text -------------------------------------------------------------------------------------------


def test_the_text_twin_says_what_the_screen_says(record: Record) -> None:
    shown = text_at(record, position=12)
    details = record.details("2", 12)
    assert details is not None
    assert f"u = {details.draw:.4f} is in its interval" in shown
    assert "✗" in shown
    assert "top-p 0.9" in shown
    assert all(len(line) <= 110 for line in shown.splitlines())


def test_prompt_and_newest_tokens_say_why_there_is_nothing(record: Record) -> None:
    assert "it was given, not chosen" in text_at(record, position=3)
    assert "it is the newest token" in text_at(record, position=21, own_row=True)
    assert "has no position 99" in text_at(record, position=99)
    assert "No request is selected" in text_at(record, request=None)
    assert "There is no request 9" in text_at(record, request="9")


def test_a_token_of_the_future_says_when_it_comes(record: Record) -> None:
    desk = desk_on(record)
    desk.select(Selection(request="2"))
    desk.seek(2)
    desk.select(replace(desk.selection, position=15))
    shown = TokensView().text(desk.scene, 100)
    row = record.token_row("2", 15)
    assert row is not None
    assert f"not there yet in step 2: it is chosen in step {row.chosen_step}" in shown


# -- on the screen -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_frame(session: Path, size: tuple[int, int]) -> None:
    async with workbench_on(session, size) as (app, pilot):
        app.select(Selection(request="3"))
        await press(pilot, "2", "left", "left", "left")
        view = screen_text(app).split("\n", 2)[2].rsplit("\n", 5)[0]
        check_frame(view + "\n", f"views/tokens-{size[0]}x{size[1]}")


async def test_arrows_and_clicks_select_tokens_and_candidates(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        app.select(Selection(request="2"))
        await press(pilot, "2", "left")
        assert app.selection.position == 20
        view = view_of(app)
        view.stages.focus()
        await press(pilot, "left", "h", "l")
        assert app.selection.position == 19
        assert view.stages.pipeline is not None
        assert view.stages.pipeline.details.position == 19
        await press(pilot, "home", "down")
        assert view.stages.cursor == 1
        await pilot.click(view.text_pane, offset=(6, 1))
        await settle(pilot)
        assert app.selection.position == 0
        assert "it was given, not chosen" in screen_text(app)


async def test_the_table_and_the_draw_point_at_the_same_candidate(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        app.select(Selection(request="3", position=18))
        await press(pilot, "2")
        view = view_of(app)
        view.draw.focus()
        await press(pilot, "home", "right")
        assert view.draw.cursor == 1
        assert view.stages.cursor == 2, "penalties moved the second interval's candidate to rank 3"
        view.stages.focus()
        await press(pilot, "up")
        assert view.draw.cursor == 0


async def test_m_changes_what_the_text_is_shaded_by(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "2")
        for shading in (*SHADINGS[1:], SHADINGS[0]):
            await press(pilot, "m")
            assert f"by {shading.name}" in screen_text(app)


async def test_enter_goes_to_the_step_that_chose_the_token(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        app.select(Selection(request="2"))
        await press(pilot, "2", "left", "left", "enter")
        assert app.selection.position == 19
        assert app.clock.step == app.scene.record.token_row("2", 19).chosen_step  # type: ignore[union-attr]
        assert not app.clock.live


async def test_f_follows_the_newest_token_again(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        app.select(Selection(request="2"))
        await press(pilot, "2", "left", "f")
        assert app.selection.position is None
        pipeline = view_of(app).stages.pipeline
        assert pipeline is not None
        assert pipeline.details.position == 21
        await press(pilot, "[", "[")
        assert pipeline.details.position > view_of(app).stages.pipeline.details.position  # type: ignore[union-attr]


async def test_a_click_on_the_chart_selects_the_token(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        app.select(Selection(request="2"))
        await press(pilot, "2")
        view = view_of(app)
        await pilot.click(view.course, offset=(1 + view.course._gutter + 12, 2))
        await settle(pilot)
        assert app.selection.position == 12


async def test_greedy_says_so_and_shows_no_draw(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        app.select(Selection(request="1"))
        await press(pilot, "2")
        assert "greedy, no draw" in screen_text(app)
        assert not view_of(app).draw.display


async def test_own_row_shows_what_it_chose(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        app.select(Selection(request="2", position=14))
        await press(pilot, "2", "o")
        pipeline = view_of(app).stages.pipeline
        assert pipeline is not None
        assert pipeline.details.position == 15


async def test_what_if_needs_an_engine_and_says_so(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        app.select(Selection(request="2", position=14))
        await press(pilot, "2", "w", "right")
        shown = screen_text(app)
        assert "there is no engine to ask" in shown
        assert "L loads the model" in shown
        await press(pilot, "escape")
        assert "what if" not in screen_text(app).split("\n", 38)[5]
        assert app.view is not None
        assert app.view.view_name == "tokens"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_what_if_works_the_stages_again_beside_the_recorded_ones(
    session: Path, size: tuple[int, int]
) -> None:
    async with workbench_on(session, size) as (app, pilot):
        asked = with_inspections(app)
        app.select(Selection(request="2", position=14))
        await press(pilot, "2", "w", "right", "right")
        assert len(asked.commands) == 1, "one inspection is enough for all settings"
        asked.answer()
        await settle(pilot)
        shown = screen_text(app)
        assert "temperature 0.8 → 1" in shown
        assert "recomputed, logits as recorded" in shown
        view = view_of(app)
        assert view.stages.display == (size[1] == 60)
        what_if = view.what_if.pipeline
        assert what_if is not None
        assert what_if.details.draw == app.scene.record.details("2", 14).draw  # type: ignore[union-attr]
        assert what_if.was(what_if.details.candidates.ids[0]) is not None
        await press(pilot, "backspace")
        assert "the same token" in screen_text(app)


async def test_what_if_on_a_prompt_token_and_on_the_next_to_come(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        asked = with_inspections(app)
        app.select(Selection(request="2", position=4))
        await press(pilot, "2", "w")
        asked.answer()
        await settle(pilot)
        assert "instead of the given '<4>' (rank" in screen_text(app)
        assert "no logits recorded to compare with" in screen_text(app)
        app.select(Selection(request="2", position=21, own_row=True))
        await settle(pilot)
        asked.answer()
        await settle(pilot)
        assert "what comes next, as recorded: '<" in screen_text(app)


async def test_captured_logits_need_no_engine(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_on(session) as (app, pilot):
        record = app.scene.record
        token = record.token_row("2", 14)
        assert token is not None
        kept = TensorRow(1, TensorKey(0, token.chosen_step, "2", None, "logits", 13), "F32", (VOCAB,))
        logits = logits_after(record.token_ids("2")[:14]).tobytes()
        monkeypatch.setattr(type(record.session), "tensors", lambda _self, step, branch=0: [kept])
        monkeypatch.setattr(type(record.session), "tensor_bytes", lambda _self, tensor: logits)
        app.select(Selection(request="2", position=14))
        await press(pilot, "2", "w", "right")
        assert "from the logits captured in the run" in screen_text(app)
        what_if = view_of(app).what_if.pipeline
        assert what_if is not None
        assert what_if.details.candidates.raw == record.details("2", 14).candidates.raw  # type: ignore[union-attr]
        app.select(Selection(request="2", position=15))
        await settle(pilot)
        assert "there is no engine to ask" in screen_text(app)


async def test_the_mouse_changes_a_setting(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        app.select(Selection(request="2", position=14))
        await press(pilot, "2", "w")
        form = view_of(app).settings
        less, more = form._arrows
        await pilot.click(form, offset=(1 + more, 2))
        await settle(pilot)
        assert form.settings is not None
        assert form.settings.tried.top_k == 20
        await pilot.click(form, offset=(1 + less, 1))
        await settle(pilot)
        assert form.settings.tried.temperature == pytest.approx(0.7)
        assert "temperature 0.8 → 0.7, top k 12 → 20" in screen_text(app)


async def test_a_refused_inspection_is_not_asked_for_again_and_again(session: Path) -> None:
    from engine import protocol as pr

    async with workbench_on(session) as (app, pilot):
        asked = with_inspections(app, lambda command: pr.Reply(id=command.id, error="no such row"))
        app.select(Selection(request="2", position=14))
        await press(pilot, "2", "w", "right")
        asked.answer()
        await settle(pilot)
        await press(pilot, "right")
        assert len(asked.commands) == 1
        assert "No such row" in screen_text(app)


async def test_hostile_tokens_stay_text(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_on(session) as (app, pilot):
        with_inspections(app)
        app.select(Selection(request="3", position=18))
        await press(pilot, "2", "w")
        for nasty in NASTY:
            show_every_token_as(nasty, app, monkeypatch)
            view_of(app)._filled = None
            app.note(News.ALL)
            await settle(pilot)
            assert all(strip.cell_length == 120 for strip in app.screen._compositor.render_strips())
            shown = screen_text(app)
            assert not set(shown) & set("\x1b\r\u202e\u200b\u200d")
            assert f"why '{display_text(nasty)}' at 18" in shown


def show_every_token_as(text: str, app: WorkbenchApp, monkeypatch: pytest.MonkeyPatch) -> None:
    record = app.scene.record
    monkeypatch.setattr(type(record.session), "token_text", lambda _self, _token: text)
    record._texts.clear()


async def test_ascii_glyphs_keep_every_meaning(session: Path) -> None:
    async with workbench_on(session, glyphs="ascii") as (app, pilot):
        app.select(Selection(request="3"))
        await press(pilot, "2")
        shown = screen_text(app)
        assert "x rank" in shown or "x cumulative" in shown
        assert "left" in shown


async def test_a_run_without_details_says_so(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_on(session) as (app, pilot):
        monkeypatch.setattr(Record, "details", lambda *_: None)
        await press(pilot, "2")
        assert "recorded no candidates" in screen_text(app)


async def test_a_request_without_output_says_so(tmp_path: Path) -> None:
    path = tmp_path / "demo.wbs"
    record_demo(path)
    async with workbench_on(path) as (app, pilot):
        await press(pilot, "2")
        assert "No token of this request has been chosen yet." in screen_text(app)


def test_the_chosen_candidate_says_how_it_was_chosen() -> None:
    drawn, greedy = chosen(SamplingParams(temperature=1.0)), chosen(SamplingParams())
    beam = msgspec.structs.replace(greedy, stages=(StageResult(LOG_SOFTMAX, 0.0, 500),))
    judged = msgspec.structs.replace(drawn, interval=None)
    assert choice_notes(drawn)[0] == f"u = {drawn.draw:.4f} falls here"
    assert choice_notes(greedy)[0] == "the largest"
    assert choice_notes(beam)[0] == "of all beams"
    assert choice_notes(judged)[0] == "came of a draft"


def test_a_drafts_draw_is_not_taken_for_the_one_that_settings_are_tried_with() -> None:
    drawn = chosen(SamplingParams(temperature=1.0))
    assert draw_title(drawn) == "what if: the same draw"
    assert "without drafts" in draw_title(msgspec.structs.replace(drawn, interval=None))
