"""Makes the pictures of the documentation: runs the demo and draws each view into `docs/images/`.

python docs/screenshots.py
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from textual.pilot import Pilot

from sessions.reader import Session
from workbench.app import WorkbenchApp
from workbench.cli import demo
from workbench.cli.engine_command import engine_command
from workbench.cli.folders import DEFAULT_MODEL
from workbench.cli.order import make_order
from workbench.selection import Selection
from workbench.source import Live

SESSION = Path("demo.wbs")
IMAGES = Path(__file__).resolve().parent / "images"
SIZE = (120, 40)
SETTLE_S = 1.5
SAMPLED = "2"  # a request of the demo that samples with top-k and top-p
REPEATING = "1"  # one whose output repeats itself
RESUMED = "5"  # one that found its prefix cached and needed blocks of others
INDUCTION = (4, 3)  # layer and head: looks at what followed the same token before


@dataclass(frozen=True, slots=True)
class Picture:
    """A view, the step to stand at, and the request and the token to select."""

    name: str
    key: str
    step: int
    request: str
    token: Literal["none", "least certain", "last"] = "none"
    then: tuple[str, ...] = ()  # keys to press in the view


PICTURES = (
    Picture("overview", "1", 45, RESUMED),
    Picture("tokens", "2", 36, SAMPLED, "least certain"),
    Picture("attention", "3", 45, REPEATING, "last"),
    Picture("blocks", "4", 45, RESUMED),
    Picture("radix", "5", 45, RESUMED),
    Picture("scheduler", "6", 45, RESUMED),
    Picture("events", "0", 45, RESUMED),
    Picture("layers", "7", 45, REPEATING, "last"),
    Picture("fork-box", "2", 36, SAMPLED, "least certain", ("G", "F")),
)


async def draw_all() -> None:
    """Run the demo to its end, and draw every view at a step that has something to show there."""
    order, _ = make_order(DEFAULT_MODEL, demo.OPTIONS, demo.demo_requests(), SESSION)
    live = Live(engine_command(), Path(order.model), Path(order.session), order.options, order.workload)
    app = WorkbenchApp(live, glyphs="unicode")
    async with app.run_test(size=SIZE) as pilot:
        await wait_for(pilot, lambda: app.engine.state == "paused")
        await pilot.press("c")
        await wait_for(pilot, lambda: app.engine.state == "paused" and app.scene.moment.step > 60)
        for picture in PICTURES:
            await stand(app, pilot, picture)
            save(app, picture.name)
            print(f"docs/images/{picture.name}.svg")
            if picture.then:
                await pilot.press("escape")
        await pilot.press("q")


async def stand(app: WorkbenchApp, pilot: Pilot[int], picture: Picture) -> None:
    """Open the picture's view, with its selection, at its step."""
    layer, head = INDUCTION
    app.select(Selection(request=picture.request, position=position_of(picture), layer=layer, head=head))
    app.seek(picture.step)
    await pilot.press(picture.key)
    await pilot.pause(SETTLE_S)
    for key in picture.then:
        await pilot.press(key)
        await pilot.pause(SETTLE_S)


def position_of(picture: Picture) -> int | None:
    """Where the token to select is: the one from the flattest distribution, or the newest at that step."""
    if picture.token == "none":
        return None
    with Session.open(SESSION) as session:
        tokens = [token for token in session.tokens(picture.request) if token.chosen_step <= picture.step]
    if picture.token == "last":
        return tokens[-1].position
    return max(tokens, key=lambda token: token.entropy or 0.0).position


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
