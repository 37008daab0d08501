"""Makes the pictures of the documentation: runs the demo and draws each view into `docs/images/`.

python docs/screenshots.py

View 8 is drawn on a run with drafts, and after methods of quantization have been measured; view 9 from there.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
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
from workbench.cli.folders import DEFAULT_MODEL, ROOT
from workbench.cli.order import make_order
from workbench.selection import Selection
from workbench.source import Live, Recorded
from workbench.views.plugins import PluginsView

SESSION = Path("demo.wbs")
DRAFTED = Path("drafted.wbs")
MEASURED = "int8,int4,awq,gptq"
HELD_OUT = ROOT / "workbench" / "cli" / "held_out.txt"
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
    typed: str = ""  # and what to type after them


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
    Picture("debugger", "2", 36, SAMPLED, "least certain", (":",), "break if entropy > 3 and rank > 1"),
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
            if picture.then:
                await pilot.press("escape")
        await pilot.press("q")


async def draw_plugins() -> None:
    """Draw view 8 on a run with drafts, what quantization does to its model, and both models in view 9."""
    text = HELD_OUT.read_text(encoding="utf-8")[:700]
    settings = ("--plugin", "draft", "--temperature", "0.7", "--max-tokens", "160", "--seed", "7")
    workbench("record", str(DEFAULT_MODEL), *settings, "--prompt", text, "-o", str(DRAFTED))
    workbench("compare-quant", str(DEFAULT_MODEL), "--methods", MEASURED, "--each")
    app = WorkbenchApp(Recorded(DRAFTED, engine_command()), glyphs="unicode")
    async with app.run_test(size=SIZE) as pilot:
        await wait_for(pilot, lambda: app.desk is not None)
        await pilot.press("8")
        await pilot.pause(SETTLE_S)
        save(app, "drafts")
        app.act("plugins.quantization")
        view = app.view
        assert isinstance(view, PluginsView)
        view.quant.methods.move_to(len(MEASURED.split(",")) - 1)
        view.quant.flips.focus()
        await pilot.pause(SETTLE_S)
        save(app, "quantization")
        await pilot.press("enter")
        await wait_for(pilot, lambda: app.body.open_name == "compare")
        await pilot.pause(SETTLE_S)
        save(app, "compare")


def workbench(*arguments: str) -> None:
    """Run a command of the program."""
    subprocess.run([*engine_command()[:-1], *arguments], check=True, stdout=subprocess.DEVNULL)


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
    await pilot.press(*picture.typed)


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
    print(f"docs/images/{name}.svg")


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        os.chdir(folder)
        os.environ["XDG_STATE_HOME"] = folder
        asyncio.run(draw_all())
        asyncio.run(draw_plugins())


if __name__ == "__main__":
    main()
