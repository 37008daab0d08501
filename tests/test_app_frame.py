"""The frame around the views: what it says at each size, and what its keys and words do."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.events import type_of
from tests.recorded import record_demo
from tests.screens import check_frame, press, screen_text, settle, workbench_on
from workbench.app import WorkbenchApp
from workbench.commands import COMMANDS
from workbench.oneline import OneLine
from workbench.views.registry import VIEWS
from workbench.widgets.pane import LinePane
from workbench.widgets.table import LineTable

FRAME_LINES = 5  # of a short screen
SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frame") / "run.wbs"
    record_demo(path)
    return path


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("view", ["overview", "events"])
async def test_frame(session: Path, view: str, size: tuple[int, int]) -> None:
    async with workbench_on(session, size) as (app, pilot):
        await press(pilot, "g", "1", "2", "enter")
        if view == "events":
            await press(pilot, "0")
        check_frame(_without_times(screen_text(app)), f"app/{view}-{size[0]}x{size[1]}")


def _without_times(text: str) -> str:
    """Cut lines where a clock's numbers begin."""
    head, *lines = text.split("\n")
    return "\n".join([_cut(head, " hit "), *(_cut(line, " is committed: ") for line in lines)])


def _cut(line: str, at: str) -> str:
    return line.partition(at)[0] + "…" if at in line else line


async def test_a_size_told_before_there_is_a_screen_counts(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkbenchApp, "on_resize", lambda _app, _event: None)
    async with workbench_on(session, (80, 24)) as (app, _):
        assert app.screen.has_class("-short")


async def test_tabs_have_names_where_there_is_room_for_all(session: Path) -> None:
    for width, named in ((120, True), (80, False)):
        async with workbench_on(session, (width, 24)) as (app, _):
            tabs = screen_text(app).splitlines()[1]
            assert ("6 Scheduler" in tabs) is named
            assert tabs.startswith(" 1 Overview  2")


async def test_digits_switch_views_and_esc_comes_back(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        for view in VIEWS[::-1]:
            await press(pilot, str(view.number))
            assert app.view is not None
            assert app.view.view_name == view.name
        await press(pilot, "escape")
        assert app.view is not None
        assert app.view.view_name == VIEWS[1].name


async def test_a_click_on_a_tab_opens_its_view(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        at = screen_text(app).splitlines()[1].index("Events")
        await pilot.click("#tabs", offset=(at, 0))
        await settle(pilot)
        assert app.view is not None
        assert app.view.view_name == "events"


async def test_a_click_on_a_footer_key_is_the_key(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        at = screen_text(app).splitlines()[-1].index("back")
        await pilot.click("#footer", offset=(at, 0))
        await settle(pilot)
        assert app.clock.step == app.clock.last_step - 1


async def test_the_selection_is_kept_when_views_change(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "down")
        chosen = app.selection
        assert chosen.request is not None
        await press(pilot, "0", "1")
        assert app.selection == chosen
        assert f"request {chosen.request}" in app.query_one("#selection", OneLine).text()


async def test_below_the_least_size_one_line_asks_for_room(session: Path) -> None:
    async with workbench_on(session, (59, 20)) as (app, pilot):
        await settle(pilot)
        assert "make the window larger" in " ".join(screen_text(app).split())
        assert "requests" not in screen_text(app)


async def test_panes_that_do_not_fit_are_named(session: Path) -> None:
    async with workbench_on(session, (80, 40)) as (app, _):
        assert "no room for" in screen_text(app)
        assert "KV blocks" in screen_text(app)


async def test_z_maximises_the_focused_pane_and_keeps_the_frame(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "z")
        shown = screen_text(app)
        assert "decisions" not in shown
        assert "q quit" in shown
        await press(pilot, "escape")
        assert "decisions" in screen_text(app)


@pytest.mark.parametrize("view", [view.number for view in VIEWS])
async def test_a_maximised_pane_has_all_the_room(session: Path, view: int) -> None:
    async with workbench_on(session, (80, 24)) as (app, pilot):
        await press(pilot, str(view), "z")
        assert app.focused is not None
        assert app.focused.region.size == (80, 24 - FRAME_LINES)


async def test_the_account_of_memory_is_offered_where_there_is_no_room(session: Path) -> None:
    async with workbench_on(session, (80, 24)) as (app, pilot):
        await press(pilot, "4")
        assert "no room for memory (m shows it)" in screen_text(app)
        await press(pilot, "m")
        assert "no room for the blocks (m shows them)" in screen_text(app)


async def test_tab_visits_every_pane_of_the_view(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        seen = {app.focused}
        for _ in range(6):
            await press(pilot, "tab")
            seen.add(app.focused)
        assert app.view is not None
        assert set(app.view.panes()) <= seen


async def test_every_action_has_its_own_keys_and_is_in_help_and_palette(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        keys = [key for action in COMMANDS for key in action.keys]
        assert len(keys) == len(set(keys))
        titles = [action.title for action, _, _ in app.actions.everything()]
        assert {action.title for action in COMMANDS} <= set(titles)
        await press(pilot, "question_mark")
        lines = app.screen.query_one(LinePane).copy_text()
        assert all(action.title in lines for action in COMMANDS)


async def test_views_do_not_take_the_frames_keys() -> None:
    taken = {key for action in COMMANDS for key in action.keys}
    for view in VIEWS:
        assert not taken & {key for action in view.load_view().actions for key in action.keys}, view.title


async def test_the_palette_does_what_the_key_does(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await pilot.press("ctrl+p")
        await pilot.press(*"one step back")
        await pilot.pause(0.3)
        await pilot.press("enter")
        await settle(pilot)
        assert app.clock.step == app.clock.last_step - 1


async def test_a_key_map_moves_a_key(session: Path) -> None:
    async with workbench_on(session, keymap={"back": "b"}) as (app, pilot):
        await press(pilot, "b")
        assert app.clock.step == app.clock.last_step - 1
        await press(pilot, "[")
        assert app.clock.step == app.clock.last_step - 1
        assert "b back" in screen_text(app)


@pytest.mark.parametrize("theme", ["workbench-light", "ansi-dark", "nord"])
async def test_themes_draw(session: Path, theme: str) -> None:
    async with workbench_on(session, theme=theme) as (app, _):
        assert "decisions" in screen_text(app)


@pytest.mark.parametrize("view", [str(spec.number) for spec in VIEWS])
async def test_ascii_glyphs_put_nothing_but_ascii_on_the_screen(session: Path, view: str) -> None:
    async with workbench_on(session, glyphs="ascii") as (app, pilot):
        await press(pilot, "g", "1", "2", "enter", view)
        assert [line for line in screen_text(app).splitlines() if not line.isascii()] == []


@pytest.mark.parametrize("key", ["x", "question_mark", "ctrl+p", "g", "slash", "colon", "V", "i"])
async def test_ascii_glyphs_put_nothing_but_ascii_in_boxes(session: Path, key: str) -> None:
    async with workbench_on(session, glyphs="ascii") as (app, pilot):
        await pilot.press(key)
        await pilot.pause(0.1)
        assert [line for line in screen_text(app).splitlines() if not line.isascii()] == []


async def test_nothing_is_painted_when_nothing_is_news(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with workbench_on(session) as (app, pilot):
        assert app.view is not None
        shown: list[object] = []
        monkeypatch.setattr(app.view, "show", lambda *news: shown.append(news))
        await pilot.pause(0.7)
        assert shown == []


async def test_events_are_found_by_what_their_sentences_say(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "0", "slash", *"request 2 arrives", "enter")
        assert isinstance(app.focused, LineTable)
        assert "request 2 arrives" in app.focused.copy_text()
        await press(pilot, "slash", *" nowhere", "enter")
        assert "no event has" in screen_text(app)


async def test_a_search_goes_on_where_it_was(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "0", "Home", "slash", *"evicted", "enter")
        first = app.scene.record.events()[app.screen.query_one("#log", LineTable).cursor]
        assert type_of(first.event) == "evicted"
        await press(pilot, "slash", "enter")
        second = app.scene.record.events()[app.screen.query_one("#log", LineTable).cursor]
        assert type_of(second.event) == "evicted"
        assert second.seq != first.seq
