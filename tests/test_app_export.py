"""Exporting what is on the screen: the dialog, and a worker that touches no widget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.widgets import Input

from tests.exported import record_spiced
from tests.screens import press, screen_text, settle, workbench_on
from workbench.exporting import FORMATS, ExportError, ExportJob, ExportOptions, default_target, run_export
from workbench.toggles import Check


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "run.wbs"
    return record_spiced(path)


@pytest.mark.parametrize("wanted", FORMATS)
def test_every_format_is_written_and_not_twice(session: Path, tmp_path: Path, wanted: str) -> None:
    if wanted == "parquet":
        pytest.importorskip("pyarrow")
    target = tmp_path / default_target(session, wanted)
    job = ExportJob(
        session, wanted, target, ExportOptions(steps="1:3") if wanted == "asciicast" else ExportOptions()
    )
    assert "exported" in run_export(job)
    with pytest.raises(ExportError, match="exists"):
        run_export(job)


async def test_x_asks_where_to_and_says_when_it_is_done(session: Path, tmp_path: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "x")
        app.screen.query_one("#target", Input).value = str(tmp_path)
        await pilot.click("#yes")
        await settle(pilot)
        assert "name a file, not a folder" in screen_text(app)
        target = app.screen.query_one("#target", Input)
        target.value = str(tmp_path / "run.jsonl")
        target.focus()
        await press(pilot, "enter")
        await app.workers.wait_for_complete()
        await settle(pilot)
        assert (tmp_path / "run.jsonl").stat().st_size > 1_000
        assert "exported to" in screen_text(app)


async def test_the_keyboard_chooses_a_format_and_its_options(session: Path, tmp_path: Path) -> None:
    async with workbench_on(session, size=(80, 24)) as (app, pilot):
        await press(pilot, "x", "down", "down", "space")
        assert app.screen.query_one("#target", Input).value == "run.perfetto.json"
        assert "layers" not in screen_text(app)
        assert "enter  export" in screen_text(app)
        for name, value in (("steps", "2:4"), ("branch", "first")):
            app.screen.query_one(f"#option-{name}", Input).value = value
        target = app.screen.query_one("#target", Input)
        target.value = str(tmp_path / "part.json")
        target.focus()
        await press(pilot, "enter")
        assert "branch is 'first': type a number" in screen_text(app)
        app.screen.query_one("#option-branch", Input).value = ""
        app.screen.query_one("#redact", Check).value = True
        await press(pilot, "enter")
        await app.workers.wait_for_complete()
        await settle(pilot)
    trace = json.loads((tmp_path / "part.json").read_text())
    about = trace["otherData"]["excerpt"]
    assert (about["first_step"], about["last_step"], about["redacted"]) == (2, 4, True)
