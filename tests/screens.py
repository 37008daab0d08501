"""The workbench on a recorded scripted run: what the tests of its screens share."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from workbench.app import WorkbenchApp
from workbench.source import Recorded

FRAMES = Path(__file__).parent / "frames"


@asynccontextmanager
async def workbench_on(
    session: Path | Recorded, size: tuple[int, int] = (120, 40), **options: Any
) -> AsyncIterator[tuple[WorkbenchApp, Pilot[int]]]:
    """The app on a recorded session, painted."""
    app = WorkbenchApp(session if isinstance(session, Recorded) else Recorded(session), **options)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        yield app, pilot


async def settle(pilot: Pilot[int]) -> None:
    """Wait until everything that is news has been painted."""
    app = pilot.app
    assert isinstance(app, WorkbenchApp)
    quiet = 0
    for _ in range(200):
        await pilot.pause()
        quiet = quiet + 1 if app.desk is not None and app.at_rest else 0
        if quiet == 2:  # what was painted has been laid out as well
            return
        await pilot.pause(0.005)
    raise AssertionError("the screen does not come to rest")


async def press(pilot: Pilot[int], *keys: str) -> None:
    """Press keys one by one, each answered before the next."""
    for key in keys:
        await pilot.press(key)
        await settle(pilot)


def screen_text(app: WorkbenchApp) -> str:
    """What is on the screen, line by line."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips()) + "\n"


def dialog_text(app: WorkbenchApp) -> str:
    """What the dialog on the screen says, however its lines are broken."""
    return " ".join(str(widget.render()) for widget in app.screen.query("Static, Button"))


def view_text(app: WorkbenchApp) -> str:
    """What the open view has on the screen: the frame around it left out, and scroll bars, which may lag."""
    assert app.view is not None
    region = app.view.region
    lines = screen_text(app).splitlines()[region.y : region.bottom]
    return re.sub("[▁▂▃▄▅▆▇█](?=│(│|$))", " ", "\n".join(lines), flags=re.MULTILINE) + "\n"


def check_frame(shown: str, name: str) -> None:
    """Compare with the stored frame; WORKBENCH_WRITE_FRAMES=1 writes it anew."""
    path = FRAMES / f"{name}.txt"
    if os.environ.get("WORKBENCH_WRITE_FRAMES"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    stored = path.read_text(encoding="utf-8")
    changes = difflib.unified_diff(stored.splitlines(), shown.splitlines(), "stored", "shown", n=0, lineterm="")
    assert shown == stored, "\n".join([name, *changes])
