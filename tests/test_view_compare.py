"""View 9: two runs side by side say where they part, and the search runs elsewhere."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from engine.divergence_result import Divergence, FirstStage, KVDifference, StageDifference
from engine.engine import Engine
from engine.execution import Limits
from engine.forking import ForkSpec
from engine.params import RequestSpec, SamplingParams
from sessions.diff_compare import compare_pair
from sessions.diff_result import DiffResult, Rebuilding, StageSearch
from sessions.diff_side import Side
from sessions.reader import Session
from sessions.redaction import redact
from tests.recorded import header, record_demo, writer_on
from tests.sampled import Floats, SamplingExecutor, begin_sampled, logits_after, record_sampled
from tests.screens import check_frame, press, screen_text, settle, view_text, workbench_on
from tests.scripted import VOCAB
from tests.test_app_live import until
from workbench.app import WorkbenchApp
from workbench.comparebox import CompareBox, newest_sessions
from workbench.source import Recorded
from workbench.views.compare import CompareView
from workbench.views.compare_data import Comparison, kin_of
from workbench.views.compare_search import Search, SearchError, Wanted
from workbench.views.compare_stages import LayerRows, StageRows
from workbench.views.compare_table import AlignedTokens
from workbench.widgets.glyphs import UNICODE
from workbench.widgets.spans import plain

SIZES = [(80, 24), (120, 40), (200, 60)]
PARTS_AT = 14
"""From here on the other run's logits are its own; before it they are a hair off."""


def other_logits(tokens: Sequence[int]) -> Floats:
    own = logits_after(tokens)
    if len(tokens) < PARTS_AT:
        return own + np.float32(1e-2) * np.cos(np.arange(VOCAB, dtype=np.float32))
    return own[::-1].copy()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two sessions with the same requests."""
    folder = tmp_path_factory.mktemp("compare")
    record_sampled(folder / "one.wbs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.sampled.logits_after", other_logits)
        record_sampled(folder / "other.wbs")
    return folder / "one.wbs", folder / "other.wbs"


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session with a request and a fork of it, another token forced at position 12."""
    path = tmp_path_factory.mktemp("forked") / "forked.wbs"
    about = header(64, block_size=4, token_budget=64)
    writer = writer_on(path, about)
    executor = SamplingExecutor(about.num_blocks, about.options.block_size)
    engine = Engine(executor, Limits(10_000, VOCAB), about.num_blocks, about.options, writer)
    engine.submit(RequestSpec(tuple(range(10)), SamplingParams(max_tokens=12)))
    engine.run(6)
    engine.fork(ForkSpec("1", at_position=12, token=7))
    engine.run()
    writer.close()
    return path


@pytest.fixture
def comparison(runs: tuple[Path, Path]) -> Iterator[Comparison]:
    with Session.open(runs[0]) as one, Session.open(runs[1]) as other:
        yield Comparison(Side(one), Side(other), "1", "1")


def beside(runs: tuple[Path, Path]) -> Recorded:
    return Recorded(runs[0], (sys.executable, "nothing.py", "_engine"), runs[1])


async def measured(pilot: Pilot[int]) -> None:
    """Wait until the distributions have been compared, and what was searched has been found."""
    await pilot.app.workers.wait_for_complete()
    await settle(pilot)


def view_of(app: WorkbenchApp) -> CompareView:
    assert isinstance(app.view, CompareView)
    return app.view


def cells(model: AlignedTokens | StageRows | LayerRows, index: int) -> list[str]:
    return [plain(cell) for cell in model.row(index)]


# -- what is compared --------------------------------------------------------------------------------------


def test_rows_stand_side_by_side_up_to_where_they_part(comparison: Comparison) -> None:
    table = AlignedTokens(comparison, 0, UNICODE)
    assert comparison.parts_at == PARTS_AT
    assert len(table) == 22
    marks = [cells(table, position)[2] for position in range(len(table))]
    assert marks == ["="] * PARTS_AT + ["✗"] + [""] * 7
    ids = comparison.a.session.tokens_of("1"), comparison.b.session.tokens_of("1")
    for position in range(len(table)):
        shown = cells(table, position)
        assert shown[1] == f"'{comparison.a.text(ids[0][position])}'"
        assert shown[3] == f"'{comparison.b.text(ids[1][position])}'"


def test_numbers_of_a_row_are_those_of_the_records(comparison: Comparison) -> None:
    pair = compare_pair(comparison.a, comparison.b, "1", "1")
    comparison.found |= {each.position: each for each in pair.positions}
    shown = cells(AlignedTokens(comparison, 0, UNICODE), 12)
    row_a, row_b = (side.session.token("1", 12) for side in (comparison.a, comparison.b))
    found = comparison.found[12]

    assert row_a is not None
    assert row_b is not None
    assert row_a.raw_logprob is not None
    assert row_b.raw_logprob is not None
    assert shown[4:6] == [f"{math.exp(row_a.raw_logprob):.3f}", f"{math.exp(row_b.raw_logprob):.3f}"]
    assert shown[6] == str(row_a.rank)
    assert found.kl is not None
    assert shown[7] == f"~{found.kl:.3g}"
    assert 0 < found.kl < 1e-3


def test_only_what_both_chose_from_the_same_tokens_is_measured(comparison: Comparison) -> None:
    pair = compare_pair(comparison.a, comparison.b, "1", "1")

    assert (
        list(comparison.comparable) == [each.position for each in pair.positions] == list(range(10, PARTS_AT + 1))
    )
    assert comparison.target(11) == 11
    assert comparison.target(3) == comparison.target(None) == comparison.target(20) == PARTS_AT


def test_kin_come_first(forked: Path) -> None:
    with Session.open(forked) as session:
        assert [row.request for row in kin_of(session.requests(), "1")] == ["2"]


# -- the screen --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_frame(runs: tuple[Path, Path], size: tuple[int, int]) -> None:
    async with workbench_on(beside(runs), size) as (app, pilot):
        await select(app, pilot, "1")
        await press(pilot, "f")
        await measured(pilot)
        check_frame(view_text(app), f"views/compare-{size[0]}x{size[1]}")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_frame_of_the_stages(
    runs: tuple[Path, Path], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Search, "run", lambda self, told: made_up(self.wanted))
    async with workbench_on(beside(runs), size) as (app, pilot):
        await select(app, pilot, "1")
        await press(pilot, "f", "d")
        await measured(pilot)
        check_frame(view_text(app), f"views/compare-stages-{size[0]}x{size[1]}")


async def select(app: WorkbenchApp, pilot: Pilot[int], request: str, position: int | None = None) -> None:
    app.select(replace(app.selection, request=request, position=position))
    await settle(pilot)


async def test_a_recording_opened_beside_another_begins_here(runs: tuple[Path, Path]) -> None:
    async with workbench_on(beside(runs)) as (app, pilot):
        await select(app, pilot, "1")
        await measured(pilot)
        shown = screen_text(app)
    assert "A one.wbs request 1" in shown
    assert "B other.wbs request 1" in shown
    assert f"request 1 position {PARTS_AT}:" in shown


async def test_without_another_run_the_pane_says_what_to_do(tmp_path: Path) -> None:
    record_demo(tmp_path / "demo.wbs")
    async with workbench_on(tmp_path / "demo.wbs") as (app, pilot):
        await press(pilot, "9")
        assert "Nothing to compare with yet. w chooses another session" in " ".join(screen_text(app).split())
        await press(pilot, "d")
        assert "there is nothing to compare" in screen_text(app)


async def test_a_fork_stands_beside_its_parent(forked: Path) -> None:
    async with workbench_on(forked) as (app, pilot):
        await select(app, pilot, "2")
        await press(pilot, "9")
        await measured(pilot)
        assert "A is a fork of B at position 12" in screen_text(app)
        await select(app, pilot, "1")
        await measured(pilot)
        assert "B is a fork of A at position 12" in screen_text(app)
        found = view_of(app).comparison
        assert isinstance(found, Comparison)
        assert found.parts_at == 12


async def test_selecting_a_row_selects_the_token_of_the_left_request(runs: tuple[Path, Path]) -> None:
    async with workbench_on(beside(runs)) as (app, pilot):
        await select(app, pilot, "1")
        view_of(app).all_panes.tokens.focus()
        await press(pilot, "home", "down", "down", "down")
        assert (app.selection.request, app.selection.position) == ("1", 3)
        await press(pilot, "f")
        assert app.selection.position == PARTS_AT
        await press(pilot, "2")
        assert f"at {PARTS_AT} in step" in screen_text(app)


async def test_another_selected_request_is_compared_with_its_own_partner(runs: tuple[Path, Path]) -> None:
    async with workbench_on(beside(runs)) as (app, pilot):
        for request in ("3", "2"):
            await select(app, pilot, request)
            await measured(pilot)
            found = view_of(app).comparison
            assert isinstance(found, Comparison)
            assert (found.one, found.other) == (request, request)
            assert sorted(found.found) == list(found.comparable)


async def test_the_dialog_offers_requests_and_sessions(runs: tuple[Path, Path]) -> None:
    async with workbench_on(runs[0]) as (app, pilot):
        await select(app, pilot, "1")
        await press(pilot, "9", "w")
        box = app.screen
        assert isinstance(box, CompareBox)
        assert runs[1] in newest_sessions(runs[0])
        names = [str(option.prompt) for option in box.query_one(OptionList).options]
        assert names[0].startswith("request 2")
        assert "session other.wbs" in names
        await press(pilot, "enter")
        await measured(pilot)
        found = view_of(app).comparison
        assert isinstance(found, Comparison)
        assert (found.one, found.other, found.same_session) == ("1", "2", True)


async def test_a_session_is_named_by_its_path(runs: tuple[Path, Path]) -> None:
    async with workbench_on(runs[0]) as (app, pilot):
        await select(app, pilot, "1")
        await press(pilot, "9", "w")
        path = app.screen.query_one("#compare-path", Input)
        path.focus()
        path.value = "nowhere.wbs"
        await press(pilot, "enter")
        assert "no such session file" in screen_text(app)
        path.value = str(runs[1])
        await press(pilot, "enter")
        await measured(pilot)
        assert "B other.wbs request 1" in screen_text(app)


async def test_a_session_on_the_right_that_grows_is_followed(runs: tuple[Path, Path], tmp_path: Path) -> None:
    growing = tmp_path / "growing.wbs"
    engine, writer = begin_sampled(growing)
    engine.run(6)
    async with workbench_on(runs[0]) as (app, pilot):
        await select(app, pilot, "1")
        await press(pilot, "9")
        view_of(app).open_session(growing)
        await settle(pilot)
        before = view_of(app).comparison
        assert isinstance(before, Comparison)
        engine.run()
        writer.close()
        await until(pilot, lambda: view_of(app).comparison is not before)
        after = view_of(app).comparison
        assert isinstance(after, Comparison)
        assert len(after.ids_b) > len(before.ids_b)
        assert cells(AlignedTokens(after, 99, UNICODE), len(before.ids_b))[3]


async def test_what_is_no_session_is_said(runs: tuple[Path, Path], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.wbs"
    wrong.write_text("no session")
    async with workbench_on(runs[0]) as (app, pilot):
        await press(pilot, "9")
        view_of(app).open_session(wrong)
        await settle(pilot)
        assert "is not a session" in screen_text(app)


async def test_another_opposite_is_measured_anew(runs: tuple[Path, Path]) -> None:
    async with workbench_on(beside(runs)) as (app, pilot):
        await select(app, pilot, "1")
        await measured(pilot)
        view_of(app).open_session(runs[0])
        await measured(pilot)
        found = view_of(app).comparison
        assert isinstance(found, Comparison)
        assert found.parts_at is None
        assert all(each.same_logits and each.kl == 0 for each in found.found.values())
        assert sorted(found.found) == list(range(10, 22))
        assert "the same 22 tokens: 12 of them chosen by both" in screen_text(app)


async def test_searching_the_text_goes_to_a_token(runs: tuple[Path, Path]) -> None:
    async with workbench_on(beside(runs)) as (app, pilot):
        await select(app, pilot, "1", 0)
        assert view_of(app).search("<5>", 1) == "'<5>' at position 5"
        await settle(pilot)
        assert app.selection.position == 5
        assert "no token with" in view_of(app).search("<5>", 1)


async def test_a_session_without_its_text_is_not_compared(runs: tuple[Path, Path], tmp_path: Path) -> None:
    hidden = shutil.copy(runs[1], tmp_path / "hidden.wbs")
    redact(hidden)
    async with workbench_on(Recorded(runs[0], (), hidden)) as (app, _pilot):
        assert "The text of hidden.wbs was taken out" in " ".join(screen_text(app).split())


async def test_the_view_as_text_has_the_same(runs: tuple[Path, Path]) -> None:
    async with workbench_on(beside(runs)) as (app, pilot):
        await select(app, pilot, "1")
        await measured(pilot)
        said = view_of(app).text(app.scene, 100)
    assert f"request 1 position {PARTS_AT}:" in said
    assert "top-1 agrees at 4 of 5" in said
    assert all(len(line) <= 100 for line in said.splitlines())


# -- the search --------------------------------------------------------------------------------------------


def made_up(wanted: Wanted) -> StageSearch:
    names = ((-1, "embed"), (0, "attn_norm"), (0, "q"), (0, "resid_post"), (1, "attn_norm"), (1, "mlp_out"),
             (1, "resid_post"), (-1, "final_norm"), (-1, "logits"))  # fmt: skip
    stages = [
        StageDifference(
            layer, stage, 0.01 * at, 0.002 * at, 1 - 1e-4 * at, 0.001 * at, 0.0001 * at, 0.0004, at == 5
        )
        for at, (layer, stage) in enumerate(names)
    ]
    first = FirstStage(
        1, "mlp_out", wanted.position - 1, 0.05, 0.01, 0.9995, 0.0005, 0.0004, beyond_rounding=True
    )
    kv = (KVDifference(0, 0.0, 0.0, 0), KVDifference(1, 0.1, 0.01, 4))
    found = Divergence(wanted.position - 1, wanted.position - 1, first, tuple(stages), kv)
    return StageSearch(wanted.one, wanted.other, found, Rebuilding(3, 40, 0.0), Rebuilding(3, 40, 1e-6))


def diff_program(folder: Path, code: str) -> list[str]:
    """A command that answers instead of `diff`."""
    (folder / "program.py").write_text(code)
    return [sys.executable, str(folder / "program.py")]


WANTED = Wanted("a.wbs", "b.wbs", "1", "2", 14)


def test_a_search_reads_the_answer_of_diff(tmp_path: Path) -> None:
    search = made_up(WANTED)
    result = DiffResult(False, None, None, "a.wbs", "b.wbs", (), (), (), search)
    (tmp_path / "answer.json").write_bytes(msgspec.json.encode(result))
    code = (
        "import sys, pathlib\n"
        "asked = 'diff a.wbs b.wbs --pair 1:2 --at 1:14 --json --progress'\n"
        "assert sys.argv[1:] == asked.split()\n"
        "print('building both runs again: 1 of 4 passes', file=sys.stderr)\n"
        f"print(pathlib.Path({str(tmp_path / 'answer.json')!r}).read_text())\n"
        "sys.exit(1)\n"
    )
    heard: list[str] = []

    found = Search(diff_program(tmp_path, code), WANTED).run(heard.append)

    assert found == search
    assert heard == ["building both runs again: 1 of 4 passes"]


def test_a_search_that_fails_says_the_last_line(tmp_path: Path) -> None:
    code = "import sys; print('workbench: request 1 is not there', file=sys.stderr); sys.exit(2)"
    with pytest.raises(SearchError, match=r"^request 1 is not there$"):
        Search(diff_program(tmp_path, code), WANTED).run(lambda _said: None)


def test_a_search_can_be_stopped(tmp_path: Path) -> None:
    code = "import sys, time; print('begun', file=sys.stderr, flush=True); time.sleep(60)"
    search = Search(diff_program(tmp_path, code), WANTED)

    assert search.run(lambda _said: search.stop()) is None


async def test_the_stages_that_were_found_are_shown(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Search, "run", lambda self, told: made_up(self.wanted))
    async with workbench_on(beside(runs)) as (app, pilot):
        await select(app, pilot, "1")
        await press(pilot, "f", "d")
        await measured(pilot)
        shown = " ".join(screen_text(app).split())
        assert "layer 1 mlp_out at position 13" in shown
        assert view_of(app).all_panes.stages.cursor == 5
        await press(pilot, "left")
        assert "stages of row 13" in screen_text(app)  # what was found stays while one looks elsewhere


async def test_why_there_was_no_search_is_said(runs: tuple[Path, Path]) -> None:
    """The program is not there: its answer is none."""
    async with workbench_on(beside(runs)) as (app, pilot):
        await select(app, pilot, "1")
        await press(pilot, "f", "d")
        await measured(pilot)
        assert "nothing.py" in screen_text(app)


async def test_without_a_program_to_start_the_key_says_so(runs: tuple[Path, Path]) -> None:
    async with workbench_on(Recorded(runs[0], (), runs[1])) as (app, pilot):
        await press(pilot, "d")
        assert "this program was not told how to start an engine" in screen_text(app)


def test_rows_of_stages_and_layers() -> None:
    found = made_up(WANTED).divergence
    assert found is not None
    stages, layers = StageRows(found, UNICODE), LayerRows(found, UNICODE)

    assert cells(stages, 5) == [" layer 1 mlp_out", "0.05", "0.01", "0.999500", "0.0005", "0.0004", "✗ beyond"]
    assert (len(stages), stages.first_index) == (9, 5)
    assert [cells(layers, index)[0] for index in range(len(layers))] == ["0", "1", "outside"]
    assert cells(layers, 1)[3] == "✗ 0.0005 mlp_out"
