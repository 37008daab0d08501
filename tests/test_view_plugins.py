"""View 8: what was measured of the session's model, and measuring more of it elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from sessions.quantization_kept import TEXT, kept_folder, read_studies
from tests.measured import FLIPPED, WORDS, keep_measured, method
from tests.recorded import record_demo
from tests.sampled import record_sampled
from tests.screens import check_frame, press, screen_text, settle, view_text, workbench_on
from workbench.app import WorkbenchApp
from workbench.program import Program, ProgramError
from workbench.source import Recorded
from workbench.views.compare import CompareView
from workbench.views.compare_data import Comparison
from workbench.views.plugins import PluginsView
from workbench.views.quant import QuantPart
from workbench.views.quant_runs import SideBySide, Sides, measuring
from workbench.views.quant_tables import LayerRows, MethodRows
from workbench.widgets.spans import plain
from workbench.widgets.table import LineTable

SIZES = [(80, 24), (120, 40), (200, 60)]
AT = 31  # the flip that led by most


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugins") / "run.wbs"
    record_demo(path)
    return path


@pytest.fixture
def measured(own_state: None) -> None:
    keep_measured()


def program(folder: Path, code: str) -> tuple[str, ...]:
    """A command that answers instead of the workbench."""
    (folder / "program.py").write_text(code)
    return sys.executable, str(folder / "program.py"), "_engine"


def part_of(app: WorkbenchApp) -> QuantPart:
    assert isinstance(app.view, PluginsView)
    return app.view.quant


async def done(pilot: Pilot[int]) -> None:
    """Wait until what was started has ended."""
    await pilot.app.workers.wait_for_complete()
    await settle(pilot)


# -- what was measured --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_frame(session: Path, size: tuple[int, int], turns: int) -> None:
    if turns > {80: 2, 120: 1, 200: 0}[size[0]]:
        pytest.skip("all of it is on the screen")
    async with workbench_on(session, size) as (app, pilot):
        await press(pilot, "8", "down", *("m" * turns))
        check_frame(view_text(app), f"views/plugins-{turns}-{size[0]}x{size[1]}")


@pytest.mark.usefixtures("measured")
async def test_a_flip_is_one_moment_in_all_panes(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "8", "down")
        part = part_of(app)
        part.flips.focus()
        await press(pilot, "down")
        second = sorted(FLIPPED, key=lambda at: -FLIPPED[at])[1]
        assert (part.words.cursor, part.course.cursor) == (second, second)
        assert f"' was{second}' led by 0.750, now ' is{second}'" in screen_text(app)
        part.words.focus()
        part.words.move_to(44)
        await settle(pilot)
        assert part.flips.cursor == 2


@pytest.mark.usefixtures("measured")
async def test_the_method_under_the_cursor_is_shown_everywhere(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "8")
        part = part_of(app)
        rows = part.methods.model
        assert isinstance(rows, MethodRows)
        assert [plain(rows.row(index)[0]) for index in range(2)] == ["int8", "int4=group:32"]
        assert "No likeliest token changed" in screen_text(app)
        await press(pilot, "down")
        assert "as it is and by int4=group:32" in screen_text(app)
        layers = part.layer_rows.model
        assert isinstance(layers, LayerRows)
        assert [layer.layer for layer in layers.layers] == [1, 0, -1]
        assert "weights of layer 1 down on their grid" in screen_text(app)
        part.layer_rows.focus()
        await press(pilot, "end")
        assert "weights of lm_head on their grid" in screen_text(app)


@pytest.mark.usefixtures("measured")
async def test_texts_are_searched(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "8")
        part = part_of(app)
        part.words.move_to(0)
        await settle(pilot)
        assert app.view is not None
        assert app.view.search("w3", 1) == f"'w3' at {next(i for i, word in enumerate(WORDS) if 'w3' in word)}"
        assert "no token with 'xyz'" in app.view.search("xyz", 1)


@pytest.mark.usefixtures("measured")
async def test_everything_is_in_the_text_of_the_view(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "8")
        assert app.view is not None
        text = app.view.text(app.scene, 100)
    for said in (
        "int4=group:32: layers to blame",
        "tensors of lm_head",
        "' was31'",
        "×25.0",
        "perplexity 8.0000",
    ):
        assert said in text


@pytest.mark.usefixtures("measured")
async def test_what_is_damaged_is_left_out(session: Path) -> None:
    for path in kept_folder().rglob("int8.json"):
        path.write_text("{")
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "8")
        assert [each.method.method for each in part_of(app).studies[0].methods] == ["int4=group:32"]


def test_bars_of_blame_are_in_proportion() -> None:
    rows = LayerRows(method("int8", 1.0))
    bars = [rows.row(index)[-1] for index in range(len(rows))]
    assert [round(bar.fraction, 3) for bar in bars] == [1.0, round(0.1 / 0.12, 3), round(0.08 / 0.12, 3)]  # type: ignore[union-attr]


async def test_what_is_measured_elsewhere_meanwhile_is_found(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "8")
        assert "Nothing has been measured" in screen_text(app)
        keep_measured()
        await press(pilot, "1", "8")
        assert "methods on held_out.txt" in screen_text(app)


# -- measuring ----------------------------------------------------------------------------------------------

MEASURES = """
import sys, pathlib
sys.path.insert(0, {tests!r})
assert sys.argv[1:] == ["compare-quant", "models/scripted", "--methods", "int8", "--each", "--progress", "--json"]
print("int8: predicting: 1 of 2 windows", file=sys.stderr)
from tests.measured import keep_measured
keep_measured()
"""


async def test_without_measures_the_pane_says_what_to_do_and_the_key_does_it(
    session: Path, tmp_path: Path
) -> None:
    code = MEASURES.format(tests=str(Path(__file__).parents[1]))
    async with workbench_on(Recorded(session, program(tmp_path, code)), (80, 24)) as (app, pilot):
        await press(pilot, "8")
        assert "Nothing has been measured of this model yet" in screen_text(app)
        await press(pilot, "w")
        app.screen.query_one(Input).value = "int8 --each"
        await press(pilot, "enter")
        await done(pilot)
        assert "methods on held_out.txt: 60 predictions" in screen_text(app)
        assert "layers to blame" in screen_text(app)
        assert "text" in screen_text(app).splitlines()[2].split()


async def test_a_measure_that_fails_says_why(session: Path, tmp_path: Path) -> None:
    code = "import sys; print('workbench: int5: no such method', file=sys.stderr); sys.exit(2)"
    async with workbench_on(Recorded(session, program(tmp_path, code))) as (app, pilot):
        await press(pilot, "8", "w", "enter")
        await done(pilot)
        assert screen_text(app).count("int5: no such method") == 2  # in the pane, and on the message line
        assert part_of(app).running is None


async def test_esc_ends_a_measure_and_so_does_leaving(session: Path, tmp_path: Path) -> None:
    code = "import sys, time; print('begun', file=sys.stderr, flush=True); time.sleep(60)"
    for key in ("escape", "q"):
        async with workbench_on(Recorded(session, program(tmp_path, code))) as (app, pilot):
            await press(pilot, "8", "w", "enter")
            running = part_of(app).running
            assert isinstance(running, Program)
            await pilot.press(key)
        assert running.run(lambda _said: None) is None  # it was stopped, and stays so


async def test_without_a_program_to_start_the_key_says_so(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "8", "w")
        assert "this program was not told how to start an engine" in screen_text(app)


def test_a_line_that_cannot_be_read_is_refused() -> None:
    for line, why in (("", "name a method"), ('int8 "', "No closing quotation")):
        with pytest.raises(ProgramError, match=why):
            measuring(["workbench"], "model", line)


# -- both models side by side -------------------------------------------------------------------------------

RECORDS = """
import json, pathlib, shutil, sys
command, model, *rest = sys.argv[1:]
assert (command, model) == ("record", "models/scripted"), sys.argv
asked = json.loads(pathlib.Path(rest[rest.index("--workload") + 1]).read_text())
assert asked["prompt_ids"] == list({prompt!r}), asked
plugin = rest[rest.index("--plugin") + 1] if "--plugin" in rest else ""
assert plugin in ("", "int4=group:32")
shutil.copy({recorded!r}, rest[rest.index("-o") + 1])
with open({log!r}, "a") as log:
    log.write(plugin + ";")
"""


@pytest.fixture
def recorder(tmp_path: Path) -> tuple[str, ...]:
    """A program that records by copying a recorded run, once it was asked for the right prompt."""
    record_sampled(tmp_path / "sampled.wbs")
    ids = range(100, 160)
    prompt = (0, *ids[15:AT])  # the second window of 31 text tokens begins 15 after the first
    code = RECORDS.format(prompt=prompt, recorded=str(tmp_path / "sampled.wbs"), log=str(tmp_path / "log"))
    return program(tmp_path, code)


@pytest.mark.usefixtures("measured")
async def test_enter_or_a_double_click_on_a_flip_shows_both_models_side_by_side(
    session: Path, tmp_path: Path, recorder: tuple[str, ...]
) -> None:
    async with workbench_on(Recorded(session, recorder)) as (app, pilot):
        for by_mouse in (False, True):  # the second time nothing is run
            await press(pilot, "8", "home", "down")
            flips = part_of(app).flips
            flips.focus()
            if by_mouse:
                await pilot.double_click(flips, offset=(4, 1 + flips.top_lines + flips.cursor))
            else:
                await press(pilot, "enter")
            await done(pilot)
            assert isinstance(app.view, CompareView)
            found = app.view.comparison
            assert isinstance(found, Comparison)
            assert found.a.session.path.name == f"{AT}.wbs"
            assert found.b.session.path.name.startswith(f"{AT}-")
            assert f"token {AT} of the text is at position {1 + AT - 15} of these runs" in screen_text(app)
        assert (tmp_path / "log").read_text() == ";int4=group:32;"
        shown = app.selection
        tokens = app.view.query_one("#compare-tokens", LineTable)
        tokens.focus()
        await press(pilot, "home", "down", "down")
        assert tokens.cursor == 2
        assert app.selection == shown  # what is compared is not of this session


def test_a_run_that_was_stopped_leaves_no_file(tmp_path: Path) -> None:
    keep_measured()
    (folder,) = (path.parent for path in kept_folder().rglob(TEXT))
    (study,) = read_studies(folder.parent)
    code = "import sys, time; print('begun', file=sys.stderr, flush=True); time.sleep(60)"
    sides = SideBySide(program(tmp_path, code)[:-1], study, "int8", AT)
    assert sides.run(lambda said: sides.stop() if said == "begun" else None) is None
    assert [*folder.rglob("*.wbs")] == []


def test_what_was_run_is_taken_from_where_it_was_kept() -> None:
    keep_measured()
    (folder,) = (path.parent for path in kept_folder().rglob(TEXT))
    (study,) = read_studies(folder.parent)
    for name in ("", "int8"):
        study.run_file(3, name).parent.mkdir(exist_ok=True)
        study.run_file(3, name).write_text("")
    sides = SideBySide((), study, "int8", 3).run(lambda _said: None)
    assert sides == Sides(study.run_file(3), study.run_file(3, "int8"))
