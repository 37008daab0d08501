"""The explanation of the selected request opens over the views, is copied, and goes again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from sessions.explain import explain_requests, harmless_text
from sessions.explain_words import told
from sessions.reader import Session
from tests.recorded import record_demo
from tests.screens import press, screen_text, workbench_on
from workbench.app import WorkbenchApp
from workbench.explainbox import ExplainBox


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain") / "run.wbs"
    record_demo(path)
    return path


async def explain(app: WorkbenchApp, pilot: Pilot[int], request: str) -> ExplainBox:
    app.select(replace(app.selection, request=request))
    await press(pilot, "e")
    box = app.screen
    assert isinstance(box, ExplainBox)
    for _ in range(200):
        if box.sentences:
            break
        await pilot.pause(0.01)
    await pilot.pause()
    return box


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_the_life_of_the_selected_request_is_told(session: Path, size: tuple[int, int]) -> None:
    async with workbench_on(session, size) as (app, pilot):
        box = await explain(app, pilot, "3")
        with Session.open(session) as read:
            [life] = explain_requests(read, ["3"])
            assert box.sentences == told(life, harmless_text(read))
        shown = " ".join(screen_text(app).split())
        assert "The life of request 3" in shown
        assert "It waited 2 steps (steps 1–2) for 1 token of the budget" in shown


async def test_it_is_copied_and_closed(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        box = await explain(app, pilot, "5")
        await pilot.press("y")
        assert app.clipboard == "\n".join(box.sentences)
        for key in ("escape", "e", "q", "e", "e"):
            await pilot.press(key)
            await pilot.pause()
        assert not isinstance(app.screen, ExplainBox)


async def test_it_is_in_help_and_palette_and_needs_a_request(session: Path) -> None:
    async with workbench_on(session) as (app, _pilot):
        [entry] = [entry for entry in app.actions.everything() if entry.action.id == "explain"]
        assert (entry.keys, entry.why_not) == ("e", None)
        app.desk.selection = replace(app.selection, request=None)
        [entry] = [entry for entry in app.actions.of_app() if entry.action.id == "explain"]
        assert entry.why_not == "no request is selected"
