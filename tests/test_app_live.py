"""The workbench with an engine in its own process: stepping, running, prompts, and an engine that dies."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from engine.params import EngineOptions, SamplingParams
from engine.protocol import RequestText
from sessions.reader import Session
from tests.screens import press, screen_text
from workbench.app import WorkbenchApp
from workbench.bench import EngineStatus
from workbench.messageline import MessageLine
from workbench.source import Live

COMMAND = [sys.executable, "-m", "tests.scripted_host"]
WORKLOAD = [RequestText(prompt="abcdefgh", params=SamplingParams(max_tokens=30)) for _ in range(3)]


def live(session: Path, model: str = "scripted") -> Live:
    return Live(COMMAND, Path(model), session, EngineOptions(), WORKLOAD, log=session.with_suffix(".log"))


@asynccontextmanager
async def workbench_with_engine(session: Path) -> AsyncIterator[tuple[WorkbenchApp, Pilot[int]]]:
    app = WorkbenchApp(live(session))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.desk is not None and app.view is not None and app.view.is_mounted)
        yield app, pilot


async def until(pilot: Pilot[int], holds: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if holds():
            return
        await pilot.pause(0.01)
    raise AssertionError(screen_text(pilot.app))  # type: ignore[arg-type]


async def test_it_opens_paused_at_step_0_and_says_what_to_press(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await until(pilot, lambda: app.engine.state == "paused")
        await press(pilot)
        assert app.clock.step == 0
        assert "n takes a step" in screen_text(app)


async def test_n_takes_one_step_each(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await pilot.press("n", "n", "n")
        await until(pilot, lambda: app.clock.step == 3)
        await press(pilot)
        assert app.scene.moment.step_row is not None
        assert app.clock.live


async def test_c_runs_until_no_request_is_left(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await pilot.press("c")
        await until(pilot, lambda: app.clock.step > 2 and app.engine.state == "paused")
        assert app.clock.step == app.scene.record.last_step


async def test_quitting_asks_while_the_engine_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        assert app.link is not None
        monkeypatch.setattr(app.link, "status", EngineStatus("running"))
        await pilot.press("q")
        await until(pilot, lambda: "The engine is running" in screen_text(app))
        await pilot.press("q", "n")
        assert app.return_value is None
        await pilot.press("q", "y")
    assert app.return_value == 0


async def test_leaving_with_a_message_on_the_screen_is_no_trouble(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        app.say("soon gone")
        app.query_one(MessageLine).set_timer(0.01, app.query_one(MessageLine).hush)  # while the engine closes
        await pilot.press("q")
    assert app.return_value == 0


async def test_a_prompt_is_submitted_with_its_settings(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await press(pilot, "p")
        app.screen.query_one(TextArea).text = "hello"
        app.screen.query_one("#temperature", Input).value = "warm"
        await press(pilot, "ctrl+d")
        assert "temperature is 'warm': it must be a number" in screen_text(app)
        app.screen.query_one("#temperature", Input).value = "0.5"
        app.screen.query_one("#n", Input).value = "2"
        await press(pilot, "ctrl+d")
        await until(pilot, lambda: len(app.scene.moment.requests) == 5)
        row = app.scene.record.request("4.1")
        assert row is not None
        assert (row.sampling.temperature, row.prompt_tokens, row.samples) == (0.5, 5, 2)


async def test_the_selected_request_can_be_aborted(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await until(pilot, lambda: app.engine.state == "paused")
        await press(pilot, "a", "y")
        await until(pilot, lambda: "1" not in app.scene.moment.state.requests)
        await press(pilot, "a")
        assert "request 1 has ended" in screen_text(app)


async def test_an_engine_that_is_killed_leaves_a_screen_that_reads_on(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await pilot.press("n", "n")
        await until(pilot, lambda: app.clock.step == 2)
        assert app.link is not None
        os.kill(app.link.pid, signal.SIGKILL)
        await until(pilot, lambda: app.engine.state == "gone")
        await press(pilot, "[")
        assert "engine gone" in screen_text(app)
        assert app.clock.step == 1
        await press(pilot, "G", "n")
        assert "killed by signal 9" in screen_text(app)
    with Session.open(tmp_path / "run.wbs") as session:
        assert session.last_step() == 2


async def test_leaving_closes_the_session_and_ends_the_engine(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await pilot.press("n")
        await until(pilot, lambda: app.clock.step == 1)
        assert app.link is not None
        pid = app.link.pid
        await pilot.press("q")
    assert not Path(f"/proc/{pid}").exists()
    assert not (tmp_path / "run.wbs-wal").exists()


async def test_what_native_code_writes_to_stderr_goes_to_the_log(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        assert app.link is not None
        from engine.protocol import Submit

        app.link.send(Submit(request=RequestText(prompt="noise")))
        await until(pilot, lambda: len(app.scene.moment.requests) == 4)
        assert "native noise" not in screen_text(app)
    assert "native noise" in (tmp_path / "run.log").read_text()


async def test_a_model_that_cannot_be_opened_ends_the_app_with_its_line(tmp_path: Path) -> None:
    app = WorkbenchApp(live(tmp_path / "run.wbs", "missing"))
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.fatal is not None)
    assert app.fatal is not None
    assert app.fatal.error == "missing: no such folder"
    assert app.return_value == 2


async def test_a_dialog_may_be_open_when_the_model_is_ready(tmp_path: Path) -> None:
    app = WorkbenchApp(live(tmp_path / "run.wbs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: app.desk is not None and app.view is not None)
        await pilot.press("escape")
        await press(pilot)
        assert "n takes a step" in screen_text(app)


async def test_leaving_while_the_model_loads_does_not_wait_for_it(tmp_path: Path) -> None:
    app = WorkbenchApp(replace(live(tmp_path / "run.wbs"), command=["sleep", "30"]))
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.link is not None)
        began = time.monotonic()
        await pilot.press("q")
    assert time.monotonic() - began < 5
