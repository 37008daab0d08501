"""Going back for real, branches of a run, and bookmarks, on a scripted engine in its own process."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessions.reader import Session
from tests.screens import dialog_text, press, screen_text, settle
from tests.test_app_live import until, workbench_with_engine
from workbench.app import WorkbenchApp
from workbench.inspections import Look
from workbench.messageline import MessageLine
from workbench.oneline import OneLine
from workbench.widgets.timeline import Flag, Timeline


async def run_steps(app: WorkbenchApp, pilot: object, steps: int) -> None:
    for step in range(app.clock.step + 1, app.clock.step + 1 + steps):
        await press(pilot, "n")  # type: ignore[arg-type]
        await until(pilot, lambda step=step: app.clock.step == step)  # type: ignore[arg-type, misc]


async def went_back(app: WorkbenchApp, pilot: object, step: int, way: str = "y") -> None:
    await press(pilot, "g", *str(step), "enter", "R")  # type: ignore[arg-type]
    await until(pilot, lambda: "Take the engine back" in screen_text(app))  # type: ignore[arg-type]
    await press(pilot, way)  # type: ignore[arg-type]
    await until(pilot, lambda: app.clock.live and app.clock.step == step)  # type: ignore[arg-type]
    await settle(pilot)  # type: ignore[arg-type]


async def test_going_back_says_what_it_takes_and_begins_a_branch(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 6)
        await press(pilot, "g", "3", "enter", "R")
        await until(pilot, lambda: "Take the engine back to the end of step 3?" in screen_text(app))
        shown = dialog_text(app)
        assert "What follows will be branch 1" in shown
        assert "all its KV is still in place, and nothing is computed again" in shown
        await press(pilot, "n")
        assert app.clock.cursor.branch == 0
        await went_back(app, pilot, 3)
        assert (app.clock.branch, app.clock.step, app.clock.live) == (1, 3, True)
        assert "branch 1" in app.query_one("#header", OneLine).text()
        await run_steps(app, pilot, 2)
        assert app.scene.moment.step_row is not None
        assert app.scene.moment.step_row.branch == 1
    with Session.open(tmp_path / "run.wbs") as session:
        assert (session.last_step(0), session.last_step(1)) == (6, 5)


async def test_what_is_lost_is_said_before_it_is_computed_again(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await press(pilot, "c")
        await until(pilot, lambda: app.clock.step > 10 and app.engine.state == "paused")
        await press(pilot, "g", "4", "enter", "R")
        await until(pilot, lambda: "Take the engine back" in screen_text(app))
        shown = dialog_text(app)
        assert "is lost and will be computed again" in shown
        assert "e  exactly, bit by bit: runs 4 recorded steps again, from step 0" in shown
        await press(pilot, "e")
        await until(pilot, lambda: app.clock.branch == 1 and app.clock.live)
        await settle(pilot)
        assert "4 recorded steps run again to have its KV back" in screen_text(app)


async def test_where_the_engine_stands_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 2)
        await press(pilot, "R")
        assert "this is where the engine stands" in screen_text(app)


async def test_another_branch_can_be_looked_at_and_the_engine_stays(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 6)
        await press(pilot, "B")
        assert "one branch only" in screen_text(app)
        await went_back(app, pilot, 3)
        await run_steps(app, pilot, 1)
        await press(pilot, "B")
        assert "branch 1: begins after step 3 of branch 0, to step 4, goes on, on the screen" in screen_text(app)
        await press(pilot, "up", "enter")
        assert (app.clock.branch, app.clock.step, app.clock.live) == (0, 4, False)
        app.query_one(MessageLine).hush()
        await settle(pilot)
        assert "branch 0, which was left" in screen_text(app)
        await press(pilot, "]", "]")
        assert (app.clock.step, app.clock.live) == (6, False)
        await press(pilot, "]")
        assert "branch 0 ends here" in screen_text(app)
        await press(pilot, "F")
        assert "the engine stands in branch 1, and this is branch 0" in screen_text(app)
        why = app.inspections.why_not()
        assert why is not None
        assert "the engine stands in branch 1" in why
        await press(pilot, "G")
        assert (app.clock.branch, app.clock.step, app.clock.live) == (1, 4, True)
        assert app.inspections.why_not() is None


async def test_a_step_of_an_old_branch_can_be_gone_on_from(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 6)
        await went_back(app, pilot, 2)
        app.turn_to(0, 5)
        await went_back(app, pilot, 5)
        assert app.clock.branch == 2
        assert {row.branch: (row.parent, row.parent_step) for row in app.scene.branches.rows} == {
            0: (None, None), 1: (0, 2), 2: (0, 5),
        }  # fmt: skip


async def test_the_timeline_shows_where_branches_part_and_bookmarks(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 6)
        await press(pilot, "g", "1", "enter", "M")
        await press(pilot, "enter")
        await went_back(app, pilot, 3)
        await run_steps(app, pilot, 1)
        timeline = app.query_one(Timeline)
        assert {step: timeline.flag_in(step, step + 1) for step in (1, 2, 3)} == {
            1: Flag.BOOKMARK, 2: None, 3: Flag.PARTED,
        }  # fmt: skip
        assert "◆" in screen_text(app).splitlines()[-3]
        assert "┬" in screen_text(app).splitlines()[-3]


async def test_a_bookmark_goes_back_to_the_branch_step_and_token(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "odd.wbs") as (app, pilot):
        await run_steps(app, pilot, 6)
        await press(pilot, "g", "5", "enter")
        app.select(app.selection.__class__(request="2", position=3))
        await press(pilot, "M", "ctrl+u", *"odd", "enter")
        await went_back(app, pilot, 2)
        await press(pilot, "'")
        assert "odd  step 5 of branch 0  request 2, position 3" in screen_text(app)
        await press(pilot, "enter")
        assert (app.clock.branch, app.clock.step) == (0, 5)
        assert (app.selection.request, app.selection.position) == ("2", 3)


async def test_bookmarks_are_kept_beside_the_session(tmp_path: Path) -> None:
    from tests.recorded import record_demo
    from tests.screens import workbench_on

    path = tmp_path / "kept.wbs"
    record_demo(path)
    before = path.read_bytes()
    async with workbench_on(path) as (_, pilot):
        await press(pilot, "g", "7", "enter", "M", "enter")
    async with workbench_on(path) as (app, pilot):
        await press(pilot, "'", "enter")
        assert app.clock.step == 7
        await press(pilot, "'", "d")
        await press(pilot, "'")
        assert "there are no bookmarks" in screen_text(app)
    assert path.read_bytes() == before


async def test_what_was_inspected_in_one_branch_says_nothing_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 4)
        monkeypatch.setattr(app.inspections, "send", lambda _: 99)
        look = Look("1", 9)
        assert app.inspections.ask(look).state == "asked"
        await went_back(app, pilot, 2)
        assert app.inspections.get(look).state == "absent"


@pytest.mark.parametrize("name", ["7", "-3"])
async def test_a_bookmark_is_not_called_like_a_step(tmp_path: Path, name: str) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await press(pilot, "M", "ctrl+u", *name, "enter")
        assert f"'{name}' is no name for a bookmark" in screen_text(app)
