"""Moving through recorded time: keys, the timeline, and what every view is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorded import record_demo
from tests.screens import press, screen_text, workbench_on
from workbench.widgets.timeline import Timeline


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("time") / "run.wbs"
    record_demo(path)
    return path


async def test_a_recording_opens_at_its_end_and_steps_back_and_forward(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        last = app.clock.last_step
        assert app.clock.live
        await press(pilot, "[", ",")
        assert (app.clock.step, app.clock.live) == (last - 2, False)
        assert app.scene.moment.step == last - 2
        await press(pilot, "]")
        assert (app.clock.step, app.clock.live) == (last - 1, False)
        await press(pilot, ".")
        assert app.clock.live


async def test_n_in_the_past_moves_forward_and_at_the_end_says_why_not(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "[", "[", "n")
        assert app.clock.step == app.clock.last_step - 1
        await press(pilot, "n", "n")
        assert "recorded session" in screen_text(app)


async def test_braces_stop_at_notable_steps(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "{")
        notable = app.scene.record.notable(app.clock.last_step, -1)
        assert app.clock.step == notable
        await press(pilot, "}")
        assert app.clock.step > notable


async def test_g_asks_for_a_step_and_upper_g_goes_back_to_the_end(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "g", "7", "enter")
        assert app.clock.step == 7
        await press(pilot, "g", "x", "enter")
        assert app.clock.step == 7
        assert "'x' is not a step" in screen_text(app)
        await press(pilot, "G")
        assert app.clock.live


async def test_the_first_step_is_0_and_there_is_nothing_before_it(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "g", "0", "enter")
        assert app.scene.moment.step_row is None
        assert set(app.scene.moment.state.requests) == set(app.scene.moment.changes.moved)
        await press(pilot, "[")
        assert "this is the first step" in screen_text(app)


async def test_a_click_on_the_timeline_goes_there(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await pilot.click(Timeline, offset=(4, 0))
        await press(pilot)
        await pilot.pause()
        assert app.clock.step == 3
