"""Going on from a recording: in a copy, at a new branch, asked once; the recording stays as it is."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from sessions.reader import Session
from tests.recorded import engine_on, writer_on
from tests.screens import dialog_text, press, screen_text, settle, workbench_on
from tests.scripted import spec
from tests.scripted_host import ABOUT
from tests.test_app_live import COMMAND, until
from workbench.app import WorkbenchApp
from workbench.forkbox import ForkBox
from workbench.going_on import copy_name
from workbench.source import Recorded


def record(path: Path) -> Path:
    writer = writer_on(path, ABOUT)
    engine = engine_on(writer, ABOUT)
    for prompt in ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 9]):
        engine.submit(spec(prompt, 12))
    engine.run()
    writer.close()
    return path


@asynccontextmanager
async def with_model_loaded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[WorkbenchApp, Pilot[int]]]:
    """A recording whose model is there: the scripted engine stands for it."""
    monkeypatch.setattr("workbench.model_behind.check_model", lambda _header: Path("scripted"))
    async with workbench_on(Recorded(path, COMMAND)) as (app, pilot):
        await press(pilot, "L")
        await until(pilot, lambda: app.engine.state == "looking")
        app.hush()
        await settle(pilot)
        yield app, pilot


async def test_n_goes_on_from_the_cursor_in_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "run.wbs")
    before = path.read_bytes()
    async with with_model_loaded(path, monkeypatch) as (app, pilot):
        assert "go on from here in a copy" in screen_text(app)
        await press(pilot, "g", "5", "enter", "c")
        await until(pilot, lambda: "Go on from step 5" in dialog_text(app))
        said = dialog_text(app)
        assert "run.wbs stays as it is" in said
        assert "run-from-step-5.wbs" in said
        await press(pilot, "y")
        await until(pilot, lambda: app.engine.records and app.clock.branch == 1 and app.clock.step > 8)
        await until(pilot, lambda: app.engine.state == "paused")
        await settle(pilot)
        copy = app.scene.record.path
        assert copy.name == "run-from-step-5.wbs"
        assert "branch 1" in screen_text(app)
        assert app.clock.live
    assert path.read_bytes() == before
    with Session.open(copy) as session:
        assert session.last_step(0) > 5
        assert session.branches[-1].parent_step == 5
        ends = {row.request: row.finish_reason for row in session.requests(1)}
        assert ends == {"1": "length", "2": "length"}
        assert list(session.tokens_of("1", 1)) == list(session.tokens_of("1", 0))


async def test_a_fork_from_a_recording_asks_first_and_then_what_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_model_loaded(record(tmp_path / "fork.wbs"), monkeypatch) as (app, pilot):
        await press(pilot, "g", "5", "enter", "F")
        await until(pilot, lambda: "Go on from step 5" in dialog_text(app))
        await press(pilot, "y")
        await until(pilot, lambda: isinstance(app.screen, ForkBox))
        assert app.engine.records
        assert app.clock.branch == 1


async def test_saying_no_leaves_everything_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "no.wbs")
    async with with_model_loaded(path, monkeypatch) as (app, pilot):
        await press(pilot, "n")
        await until(pilot, lambda: "Go on from step" in dialog_text(app))
        await press(pilot, "n")
        assert app.engine.state == "looking"
        assert app.scene.record.path == path


async def test_a_copy_that_cannot_be_made_is_said_and_the_recording_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_model_loaded(record(tmp_path / "bad.wbs"), monkeypatch) as (app, pilot):
        monkeypatch.setattr("workbench.going_on.copy_name", lambda *_: tmp_path / "bad.wbs")
        await press(pilot, "n")
        await until(pilot, lambda: "Go on from step" in dialog_text(app))
        await press(pilot, "y")
        await until(pilot, lambda: app.engine.state == "gone")
        await press(pilot, "[")
        assert app.clock.step == app.clock.last_step - 1
        assert app.scene.record.path.name == "bad.wbs"


async def test_without_the_model_the_keys_say_what_loads_it(tmp_path: Path) -> None:
    source = Recorded(record(tmp_path / "plain.wbs"), [sys.executable, "-c", ""])
    async with workbench_on(source) as (app, pilot):
        for key in ("n", "c", "p", "F", "R"):
            await press(pilot, key)
            assert "L loads its model" in screen_text(app)


def test_copies_get_names_of_their_own(tmp_path: Path) -> None:
    first = copy_name(Path("run.wbs"), 31, tmp_path)
    assert first == tmp_path / "run-from-step-31.wbs"
    first.touch()
    assert copy_name(Path("run.wbs"), 31, tmp_path) == tmp_path / "run-from-step-31-2.wbs"
