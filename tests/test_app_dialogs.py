"""Dialogs of the debugger as they are drawn, at three sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.events import Key
from textual.widgets import Input, Static

from tests.recorded import record_demo
from tests.screens import check_frame, press, screen_text, settle, workbench_on
from tests.test_app_live import until
from workbench.app import WorkbenchApp
from workbench.chooser import Page
from workbench.commandline import CommandLine
from workbench.commands.forks import choices_at, parent_of
from workbench.commands.going_on import ask_to_go_on
from workbench.dialogs import Decide, Way
from workbench.forkbox import ForkBox
from workbench.forking import ForkHint
from workbench.selection import Selection

KEYS = {"\r": "enter", " ": "space", "↓": "down", "#": "number_sign"}
SIZES = [(80, 24), (120, 40), (200, 60)]
each_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dialogs") / "dialogs.wbs"
    record_demo(path)
    return path


def check(app: WorkbenchApp, name: str, size: tuple[int, int]) -> None:
    """The screen without its first line, which has a clock's numbers."""
    check_frame(screen_text(app).partition("\n")[2], f"dialogs/{name}-{size[0]}x{size[1]}")


def fork_box(app: WorkbenchApp, hint: ForkHint) -> ForkBox:
    record = app.scene.record
    parent = parent_of(record, "1")
    assert parent is not None
    decode = record.session.vocabulary.decode
    return ForkBox(parent, hint, lambda at: choices_at(record, "1", at), decode, lambda *_: None)


@each_size
@pytest.mark.parametrize("section", ["token", "settings", "prompt", "stages"])
async def test_fork_box(session: Path, section: str, size: tuple[int, int]) -> None:
    async with workbench_on(session, size) as (app, pilot):
        await press(pilot, "g", "1", "2", "enter")
        app.push_screen(fork_box(app, ForkHint(12, 7 if section == "token" else None)))
        await settle(pilot)
        app.screen.query_one(f"#what-{section}").value = True  # type: ignore[attr-defined]
        await settle(pilot)
        if section == "stages":
            app.screen.query_one("#stages-text", Input).value = "layer 1 head 9"
        await settle(pilot)
        await pilot.pause(0.2)
        check(app, f"fork-{section}", size)


@pytest.mark.parametrize("section", ["token", "settings", "prompt", "stages"])
async def test_fork_box_in_ascii(session: Path, section: str) -> None:
    async with workbench_on(session, glyphs="ascii") as (app, pilot):
        app.push_screen(fork_box(app, ForkHint(12)))
        await settle(pilot)
        app.screen.query_one(f"#what-{section}").value = True  # type: ignore[attr-defined]
        await settle(pilot)
        assert [line for line in screen_text(app).splitlines() if not line.isascii()] == []


@each_size
async def test_going_back(session: Path, size: tuple[int, int]) -> None:
    async with workbench_on(session, size) as (app, pilot):
        ways = [
            Way("y", "go back: KV of 41 tokens is lost and will be computed again"),
            Way("e", "exactly, bit by bit", "step 12 cannot be had exactly: branch 1 began at step 9"),
        ]
        app.push_screen(Decide("Take the engine back to the end of step 12?", ways, "stay"))
        await settle(pilot)
        check(app, "going-back", size)


@each_size
async def test_command_line_with_an_error(session: Path, size: tuple[int, int]) -> None:
    async with workbench_on(session, size) as (app, pilot):
        await press(pilot, ":")
        app.screen.query_one(Input).value = "print entropi + 1"
        await press(pilot, "enter")
        await until(pilot, lambda: "entropi" in str(app.screen.query_one("#command-note", Static).render()))
        await pilot.pause(0.1)
        await settle(pilot)
        check(app, "command-line", size)


@each_size
async def test_points_of_a_recording(session: Path, size: tuple[int, int]) -> None:
    async with workbench_on(session, size) as (app, pilot):
        for line in ("break if entropy > 3", "watch kv.free", "catch preempt req 2", "info breakpoints"):
            await press(pilot, ":")
            app.screen.query_one(Input).value = line
            await press(pilot, "enter")
            await until(pilot, lambda: not isinstance(app.screen, CommandLine))
            await settle(pilot)
        await until(pilot, lambda: isinstance(app.screen, Page))
        app.hush()
        await pilot.pause(0.1)
        await settle(pilot)
        check(app, "points", size)


@each_size
async def test_going_on_in_a_copy(session: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.going_on.sessions_folder", lambda: Path("/sessions"))
    async with workbench_on(session, size) as (app, pilot):
        await press(pilot, "g", "1", "2", "enter")
        ask_to_go_on(app, lambda: None)
        await settle(pilot)
        check(app, "going-on", size)


def at_once(app: WorkbenchApp, characters: str) -> None:
    """Press keys as a paste does, none of them answered before the next."""
    for character in characters:
        app.post_message(Key(KEYS.get(character, character), character if character not in "\r↓" else None))


async def test_what_is_typed_before_the_fork_box_is_there_is_its_token(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        box = fork_box(app, ForkHint(12, None))
        app.push_screen(box)
        at_once(app, "#7")
        await settle(pilot)
        assert (box.typed.token, box.typed.position) == ("#7", "12")


async def test_keys_before_the_export_box_is_there_choose_the_format(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        at_once(app, "x↓↓ ")
        await settle(pilot)
        assert app.screen.query_one("#target", Input).value == "dialogs.perfetto.json"


async def test_keys_before_the_compare_box_is_there_choose_what_to_compare_with(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "9")
        app.select(Selection(request="1"))
        at_once(app, "w↓\r")
        await until(pilot, lambda: "B request 3" in screen_text(app))
