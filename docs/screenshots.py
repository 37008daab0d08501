"""Makes the pictures of the documentation: runs the demo and draws each view into `docs/images/`.

python docs/screenshots.py
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from textual.pilot import Pilot

from cli import demo
from cli.engine_command import engine_command
from cli.folders import DEFAULT_MODEL
from cli.order import make_order
from workbench.app import WorkbenchApp
from workbench.source import Live

IMAGES = Path(__file__).resolve().parent / "images"
SIZE = (120, 40)
STEP = 46
REQUEST, POSITION = "2", 190
SETTLE_S = 1.5


@dataclass(frozen=True, slots=True)
class Picture:
    """A view, and the keys to press in it before it is drawn."""

    name: str
    key: str
    then: tuple[str, ...] = ()


PICTURES = (
    Picture("overview", "1"),
    Picture("tokens", "2"),
    Picture("attention", "3"),
    Picture("blocks", "4"),
    Picture("radix", "5"),
    Picture("scheduler", "6"),
    Picture("events", "0"),
)


async def draw_all() -> None:
    """Run the demo to its end, go back to the step that has the most to show, and draw every view."""
    order, _ = make_order(DEFAULT_MODEL, demo.OPTIONS, demo.demo_requests(), Path("demo.wbs"))
    live = Live(engine_command(), Path(order.model), Path(order.session), order.options, order.workload)
    app = WorkbenchApp(live, glyphs="unicode")
    async with app.run_test(size=SIZE) as pilot:
        await wait_for(pilot, lambda: app.engine.state == "paused")
        await pilot.press("c")
        await wait_for(pilot, lambda: app.engine.state == "paused" and app.scene.moment.step > STEP)
        app.seek(STEP)
        app.select(replace(app.scene.selection, request=REQUEST, position=POSITION))
        for picture in PICTURES:
            await pilot.press(picture.key, *picture.then)
            await pilot.pause(SETTLE_S)
            save(app, picture.name)
            print(f"docs/images/{picture.name}.svg")
        await pilot.press("q")


async def wait_for(pilot: Pilot[int], holds: Callable[[], bool], seconds: float = 60) -> None:
    for _ in range(int(seconds / 0.05)):
        if holds():
            return
        await pilot.pause(0.05)
    raise TimeoutError("the workbench did not get there")


def save(app: WorkbenchApp, name: str) -> None:
    """The screen as SVG, in the reader's own monospace font: pictures load nothing from elsewhere."""
    drawing = app.export_screenshot(title="workbench")
    drawing = re.sub(r"@font-face \{.*?\}", "", drawing, flags=re.DOTALL)
    drawing = drawing.replace("Fira Code", "DejaVu Sans Mono")
    (IMAGES / f"{name}.svg").write_text(re.sub(r"[ \t]+$", "", drawing, flags=re.MULTILINE))


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        os.chdir(folder)
        asyncio.run(draw_all())


if __name__ == "__main__":
    main()
