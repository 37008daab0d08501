"""A session as a terminal recording: the workbench's own screens, stepping through it. Format: asciicast v2.

The app runs as it does in a terminal, and what it writes to one is kept, a frame a step. No terminal and no
engine is needed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec
from rich.console import Console
from textual.drivers.headless_driver import HeadlessDriver

from sessions.errors import SessionError
from sessions.export.excerpt import Excerpt
from sessions.export.options import ExportOptions, parse_names
from sessions.export.output import Progress
from workbench.views.registry import VIEWS

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from workbench.app import WorkbenchApp

DEFAULT_SIZE: Final = "100x30"
DEFAULT_VIEWS: Final = "overview"
DEFAULT_FPS: Final = 4.0
MOST_FRAMES: Final = 5_000
_LEAST: Final = (60, 16)
_MOST: Final = (300, 100)
_BEGIN: Final = "\x1b[?25l\x1b[2J\x1b[H"
_POINTER: Final = re.compile("\x1b\\]22;[^\x07\x1b]*(?:\x07|\x1b\\\\)")
"""The shape of a mouse pointer: no player has one."""
_REST_ROUNDS: Final = 400


@dataclass(frozen=True, slots=True)
class Plan:
    """What is recorded: each view walks through all steps, `fps` of them a second."""

    size: tuple[int, int]  # columns, lines
    views: tuple[str, ...]
    fps: float
    first_step: int
    last_step: int

    @property
    def frames(self) -> int:
        return len(self.views) * (self.last_step - self.first_step + 1)

    def moments(self) -> Iterator[tuple[str, int]]:
        """The view and the step of each frame."""
        return ((view, step) for view in self.views for step in range(self.first_step, self.last_step + 1))


def plan_of(options: ExportOptions, first_step: int, last_step: int) -> Plan:
    """What `options` ask for. Raises SessionError for what cannot be recorded."""
    views = parse_names("views", options.views or DEFAULT_VIEWS, [view.name for view in VIEWS])
    fps = DEFAULT_FPS if options.fps is None else options.fps
    if not 0.1 <= fps <= 60:
        raise SessionError(f"--fps is {fps:g}: it must be between 0.1 and 60")
    plan = Plan(_size(options.size or DEFAULT_SIZE), views, fps, first_step, last_step)
    if not 0 < plan.frames <= MOST_FRAMES:
        raise SessionError(f"{plan.frames:,} frames cannot be recorded: choose 1 to {MOST_FRAMES:,} with --steps")
    return plan


def write(excerpt: Excerpt, stream: BinaryIO, progress: Progress) -> None:
    """Write the recording: a header, then an event a line."""
    plan = plan_of(excerpt.options, excerpt.first_step, excerpt.last_step)
    notable = dict(excerpt.session.notable_steps(plan.first_step, plan.last_step, excerpt.branch))
    stream.write(msgspec.json.encode(_header(excerpt, plan)) + b"\n")
    frames = asyncio.run(_record(excerpt.session.path, excerpt.branch, plan, progress))
    for number, ((view, step), data) in enumerate(zip(plan.moments(), frames, strict=True)):
        time = round(number / plan.fps, 6)
        if step == plan.first_step:
            stream.write(_event(time, "m", view))
        elif step in notable:
            stream.write(_event(time, "m", f"step {step}"))
        stream.write(_event(time, "o", data if number else _BEGIN + data))
    stream.write(_event(round(plan.frames / plan.fps, 6), "o", ""))  # the last frame stays as long as the others


def _header(excerpt: Excerpt, plan: Plan) -> dict[str, object]:
    header = excerpt.session.header
    columns, lines = plan.size
    fields: dict[str, object] = {
        "version": 2, "width": columns, "height": lines, "title": f"workbench {header.model_name} {excerpt.name}",
        "env": {"TERM": "xterm-256color"}, "workbench": {"excerpt": excerpt.about},
    }  # fmt: skip
    if (made := _seconds(header.created)) is not None:
        fields["timestamp"] = made
    return fields


def _seconds(created: str) -> int | None:
    try:
        return int(datetime.fromisoformat(created).timestamp())
    except ValueError:
        return None


def _event(time: float, kind: str, data: str) -> bytes:
    return msgspec.json.encode([time, kind, data]) + b"\n"


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text.strip(), re.ASCII)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(least <= each <= most for least, each, most in zip(_LEAST, size, _MOST, strict=True)):
        raise SessionError(f"--size is {text!r}: write columns x lines, from 60x16 to 300x100")
    return size


# -- the app without a terminal --------------------------------------------------------------------------


class _Terminal(HeadlessDriver):
    """Keeps what would be written to a terminal."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.written: list[str] = []

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        self.written.append(data)

    def take(self) -> str:
        """What was written since this was last asked."""
        written, self.written = "".join(self.written), []
        return _POINTER.sub("", written)


async def _record(session: Path, branch: int, plan: Plan, progress: Progress) -> list[str]:
    """What the app writes for each frame."""
    from workbench.app import WorkbenchApp
    from workbench.source import Recorded

    app = WorkbenchApp(Recorded(session))
    app.driver_class = _Terminal
    app.console = Console(color_system="truecolor", force_terminal=True, legacy_windows=False, _environ={})
    async with app.run_test(headless=False, size=plan.size) as pilot:
        await _settle(app, pilot)
        return [frame async for frame in _frames(app, pilot, branch, plan, progress)]


async def _frames(
    app: WorkbenchApp, pilot: Pilot[int], branch: int, plan: Plan, progress: Progress
) -> AsyncIterator[str]:
    terminal = app._driver
    assert isinstance(terminal, _Terminal)
    done = 0
    for view, moments in groupby(plan.moments(), key=lambda moment: moment[0]):
        app.open_view(view)
        for _, step in moments:
            app.seek(step, branch)
            await _settle(app, pilot)
            yield terminal.take()
            done += 1
            progress(done, plan.frames)


async def _settle(app: WorkbenchApp, pilot: Pilot[int]) -> None:
    """Wait until everything that is news has been painted, and laid out as well."""
    quiet = 0
    for _ in range(_REST_ROUNDS):
        await pilot.pause()
        quiet = quiet + 1 if app.desk is not None and app.at_rest else 0
        if quiet == 2:
            return
        if app.fatal is not None:
            raise SessionError(app.fatal.error)
        await asyncio.sleep(0.005)
    raise SessionError("the screen does not come to rest: nothing was recorded")
