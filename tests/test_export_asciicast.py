"""A terminal recording is one: a terminal that plays it ends with the screen that the app had."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from textual.widgets import Input, RadioSet

from sessions.errors import SessionError
from sessions.export import ExportOptions, export_session
from sessions.reader import Session
from tests.recorded import record_demo
from tests.screens import press, screen_text, settle, workbench_on
from workbench.asciicast import plan_of
from workbench.exporting import ASCIICAST

COLUMNS, LINES = 90, 28


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cast") / "demo.wbs"
    record_demo(path)
    return path


def recorded(demo: Path, output: Path, **options: object) -> tuple[dict, list[list]]:
    asked = ExportOptions(size=f"{COLUMNS}x{LINES}", **options)  # type: ignore[arg-type]
    export_session(demo, ASCIICAST, output, asked)
    header, *events = map(json.loads, output.read_text(encoding="utf-8").splitlines())
    return header, events


def played(events: list[list], until: float = float("inf")) -> list[str]:
    """The screen of a terminal that has played the recording so far."""
    pyte = pytest.importorskip("pyte")
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.Stream(screen)
    for time, kind, data in events:
        if kind == "o" and time <= until:
            stream.feed(data)
    return [line.rstrip() for line in screen.display]


async def shown_by_the_app(demo: Path, *moments: tuple[str, int]) -> list[list[str]]:
    """The screens of the app as it goes from moment to moment."""
    screens = []
    async with workbench_on(demo, size=(COLUMNS, LINES)) as (app, pilot):
        for view, step in moments:
            app.open_view(view)
            app.seek(step)
            await settle(pilot)
            screens.append(screen_text(app).splitlines())
    return screens


async def test_the_last_frame_is_the_screen_of_the_last_step(demo, tmp_path) -> None:
    make = asyncio.to_thread(recorded, demo, tmp_path / "a.cast", steps="2:4", views="overview,blocks")
    _, events = await make
    moments = [(view, step) for view in ("overview", "blocks") for step in (2, 3, 4)]
    assert played(events) == (await shown_by_the_app(demo, *moments))[-1]


async def test_every_moment_in_between_is_one_of_its_steps(demo, tmp_path) -> None:
    make = asyncio.to_thread(recorded, demo, tmp_path / "a.cast", steps="4:6", fps=2.0)
    _, events = await make
    expected = await shown_by_the_app(demo, *(("overview", step) for step in (4, 5, 6)))
    assert [played(events, number / 2) for number in range(3)] == expected


def test_header_and_times_are_those_of_asciicast_v2(demo, tmp_path) -> None:
    header, events = recorded(demo, tmp_path / "a.cast", steps="1:4", views="scheduler", fps=8.0)
    assert (header["version"], header["width"], header["height"]) == (2, COLUMNS, LINES)
    assert header["workbench"]["excerpt"]["last_step"] == 4
    times = [time for time, _, _ in events]
    assert times == sorted(times)
    assert times[-1] == 4 / 8
    assert {kind for _, kind, _ in events} <= {"o", "m"}
    with Session.open(demo) as session:
        notable = [f"step {step}" for step, _ in session.notable_steps(2, 4)]
    assert [data for _, kind, data in events if kind == "m"] == ["scheduler", *notable]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "30x5"}, "--size is '30x5': write columns x lines, from 60x16 to 300x100"),
        ({"size": "wide"}, "--size is 'wide'"),
        ({"fps": 0.0}, "--fps is 0: it must be between 0.1 and 60"),
        ({"views": "overview,moon"}, "--views names 'moon': there is overview, tokens"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_line(options, message) -> None:
    with pytest.raises(SessionError, match=message):
        plan_of(ExportOptions(**options), 1, 10)


def test_too_many_frames_are_refused_before_any_is_made() -> None:
    with pytest.raises(SessionError, match="1,000,000 frames cannot be recorded: choose 1 to 5,000 with --steps"):
        plan_of(ExportOptions(), 1, 1_000_000)


async def test_the_export_box_makes_one_while_the_app_runs(demo, tmp_path) -> None:
    async with workbench_on(demo) as (app, pilot):
        await press(pilot, "x")
        app.screen.query_one(RadioSet).query("Radio")[-1].value = True
        await settle(pilot)
        app.screen.query_one("#option-steps", Input).value = "1:2"
        app.screen.query_one("#target", Input).value = str(tmp_path / "a.cast")
        await pilot.click("#yes")
        await app.workers.wait_for_complete()
        await settle(pilot)
        assert "exported to" in screen_text(app)
    assert json.loads((tmp_path / "a.cast").read_text().splitlines()[0])["version"] == 2
