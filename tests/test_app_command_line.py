"""The command line: points that halt the engine, history, completion, and errors under what they are about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from textual.events import Key
from textual.widgets import Input, Static

from engine.events import type_of
from tests.recorded import record_demo
from tests.screens import dialog_text, press, screen_text, settle, workbench_on
from tests.test_app_branches import run_steps, went_back
from tests.test_app_live import until, workbench_with_engine
from workbench.chooser import Page
from workbench.commandline import CommandLine
from workbench.completing import Offered, complete
from workbench.forkbox import ForkBox
from workbench.history import History
from workbench.oneline import OneLine
from workbench.widgets.timeline import Flag, Timeline

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from workbench.app import WorkbenchApp


async def typed(app: WorkbenchApp, pilot: Pilot[int], line: str) -> None:
    await press(pilot, ":")
    app.screen.query_one(Input).value = line
    await press(pilot, "enter")


async def left(app: WorkbenchApp, pilot: Pilot[int], line: str) -> None:
    """Type a line that is carried out."""
    await typed(app, pilot, line)
    await until(pilot, lambda: not isinstance(app.screen, CommandLine))
    await settle(pilot)


def note(app: WorkbenchApp) -> str:
    return str(app.screen.query_one("#command-note", Static).render())


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("line") / "line.wbs"
    record_demo(path)
    return path


# -- points --------------------------------------------------------------------------------------------


async def test_a_breakpoint_halts_the_run_where_it_holds_and_selects_whose_it_is(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await press(pilot, "b")
        line = app.screen.query_one(Input)
        assert line.value == "break if "
        line.value += 'req == "2" and pos == 10'
        await press(pilot, "enter")
        await until(pilot, lambda: not isinstance(app.screen, CommandLine))
        await press(pilot, "c")
        await until(pilot, lambda: app.engine.stop is not None)
        await settle(pilot)
        stop = app.engine.stop
        assert stop is not None
        assert (app.clock.step, app.clock.live) == (stop.step, True)
        assert (app.selection.request, app.selection.position) == ("2", 10)
        assert "breakpoint 1: after step" in app.query_one("#header", OneLine).text()
        assert "breakpoint 1, after step" in screen_text(app).splitlines()[-2]
        assert app.query_one(Timeline).flag_in(stop.step, stop.step + 1) is Flag.STOP
        await press(pilot, "n")
        await until(pilot, lambda: app.clock.step > stop.step)
        await settle(pilot)
        assert app.engine.stop is None
        assert "breakpoint 1" not in app.query_one("#header", OneLine).text()


async def test_a_stop_before_the_forward_pass_says_that_nothing_ran(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await left(app, pilot, "break if queue.running > 1")
        await press(pilot, "c")
        await until(pilot, lambda: app.engine.stop is not None)
        await settle(pilot)
        assert "planned, not run" in app.query_one("#header", OneLine).text()
        await press(pilot, "R")
        assert "a step is under way" in screen_text(app)
        before = app.scene.record.last_step
        await press(pilot, "n")
        await until(pilot, lambda: app.scene.record.last_step == before + 1)


async def test_what_is_changed_while_a_step_is_under_way_is_queued_and_then_done(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 4)
        await left(app, pilot, "tbreak if queue.running > 0")
        await press(pilot, "c")
        await until(pilot, lambda: app.engine.under_way is not None)
        await settle(pilot)
        step = app.engine.under_way
        await left(app, pilot, "set policy lpm")
        assert f"queued until step {step} is over" in screen_text(app)
        app.select(replace(app.selection, request="1", position=None))
        await press(pilot, "F")
        box = app.screen
        assert isinstance(box, ForkBox)
        box.query_one("#position", Input).value = "10"
        box.query_one("#token-text", Input).value = "#7"
        await settle(pilot)
        await press(pilot, "ctrl+d")
        assert app.screen is not box, dialog_text(app)
        assert f"queued until step {step} is over" in screen_text(app)
        assert app.scene.moment.state.policy == "fcfs"
        await press(pilot, "n")
        await until(pilot, lambda: app.scene.moment.state.policy == "lpm")
        await until(pilot, lambda: any(row.parent == "1" for row in app.scene.record.requests()))


async def test_a_watchpoint_says_old_and_new(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await left(app, pilot, 'watch request("1").state')
        await press(pilot, "c")
        await until(pilot, lambda: app.engine.stop is not None)
        await settle(pilot)
        assert '"WAITING" → ' in screen_text(app).splitlines()[-2]


async def test_points_are_listed_over_the_screen(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await left(app, pilot, "break if step > 3")
        await left(app, pilot, "catch preempt")
        await press(pilot, "i")
        await until(pilot, lambda: isinstance(app.screen, Page))
        await settle(pilot)
        assert "step > 3" in screen_text(app)
        await press(pilot, "escape")


async def test_commands_change_the_run(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 5)
        await left(app, pilot, "force 7 1 9")
        await until(pilot, lambda: app.scene.record.request("4") is not None)
        await left(app, pilot, "preempt 1")
        await until(pilot, lambda: app.scene.moment.state.requests["1"].state == "PREEMPTED")
        await left(app, pilot, "set policy lpm")
        await until(pilot, lambda: app.scene.moment.state.policy == "lpm")
        await left(app, pilot, "rewind 3")
        await until(pilot, lambda: "Take the engine back to the end of step 3" in screen_text(app))
        await press(pilot, "y")
        await until(pilot, lambda: app.clock.branch == 1)


async def test_another_branch_is_looked_at_by_its_number(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 5)
        await went_back(app, pilot, 2)
        await left(app, pilot, "branch 0")
        assert (app.clock.branch, app.clock.step) == (0, 2)
        await left(app, pilot, "branch")
        assert "branch 1: begins after step 2 of branch 0" in screen_text(app)
        await press(pilot, "escape")
        await typed(app, pilot, "branch 7")
        await until(pilot, lambda: "there is no branch 7" in note(app))


# -- the line itself -----------------------------------------------------------------------------------


async def test_what_is_wrong_stands_under_its_place(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await typed(app, pilot, "break if entropi > 3")
        await until(pilot, lambda: "entropi" in note(app))
        assert note(app).index("^") == len(": break if ")
        assert "entropy" in note(app)
        await press(pilot, "escape")
        await typed(app, pilot, "brake")
        await until(pilot, lambda: "there is no command 'brake'" in note(app))


async def test_lines_are_kept_between_runs(tmp_path: Path, session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await left(app, pilot, "goto 5")
        assert app.clock.step == 5
        await left(app, pilot, "goto 9")
    async with workbench_on(session) as (app, pilot):
        await press(pilot, ":", "x", "up", "up")
        assert app.screen.query_one(Input).value == "goto 5"
        await press(pilot, "down", "down")
        assert app.screen.query_one(Input).value == "x"


async def test_tab_completes_as_far_as_it_is_clear(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, ":", *"wat", "tab")
        line = app.screen.query_one(Input)
        assert line.value == "watch "
        await press(pilot, *"entr", "tab")
        assert line.value == "watch entropy "
        line.value = "info r"
        line.cursor_position = 6
        await settle(pilot)
        await press(pilot, "tab")
        assert "radix" in note(app)
        assert "requests" in note(app)
        await press(pilot, "tab", "tab")
        assert line.value == "info requests"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rev", ("reverse-continue", "reverse-step")),
        ("catch pre", ("preempt",)),
        ("break if layer(3).attn_o", ("attn_out",)),
        ("break if layer(3).attn_out.r", ("rms",)),
        ("print block(4).w", ("writer",)),
        ('print request("3").ca', ("cached",)),
        ("abort 1", ("1", "12")),
        ("goto od", ("odd",)),
        ("set policy l", ("lpm",)),
        ("print queue.w", ("queue.waiting",)),
        ("nonsense x", ()),
    ],
)
def test_the_registry_the_names_and_the_session_complete(text: str, words: tuple[str, ...]) -> None:
    assert tuple(complete(text, Offered(["1", "12", "3"], ["odd"])).words) == words


def test_history_keeps_each_line_once(tmp_path: Path) -> None:
    history = History(tmp_path / "deep" / "history")
    for line in ("a", "b", "a"):
        history.add(line)
    again = History(tmp_path / "deep" / "history")
    assert [again.back(""), again.back(""), again.back("")] == ["a", "b", "b"]


# -- on a recording ------------------------------------------------------------------------------------


async def test_info_tells_of_the_step_under_the_cursor(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await left(app, pilot, "goto 3")
        await left(app, pilot, "info requests")
        assert isinstance(app.screen, Page)
        assert "info requests" in screen_text(app)
        assert any(request in screen_text(app) for request in app.scene.moment.state.requests)


async def test_values_of_the_past_are_printed_from_the_record(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await left(app, pilot, "goto 3")
        await left(app, pilot, "print queue.running")
        assert f"queue.running = {len(app.scene.moment.state.running)}" in screen_text(app)
        await typed(app, pilot, "x/8f layer(1).attn_out")
        await until(pilot, lambda: "load the model behind the recording" in note(app))


async def test_reverse_continue_goes_back_to_the_last_stop(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await left(app, pilot, "catch preempt")
        await left(app, pilot, "reverse-continue")
        await until(pilot, lambda: not app.clock.live)
        await settle(pilot)
        preempted = [row.event for row in app.scene.moment.events if type_of(row.event) == "preempted"]
        assert preempted
        assert app.selection.request in {event.request for event in preempted}
        before = app.clock.step
        await left(app, pilot, "reverse-continue")
        await until(pilot, lambda: app.clock.step < before)


async def test_last_finds_who_wrote_a_block(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await left(app, pilot, "last block(3).writer")
        await until(pilot, lambda: not app.clock.live)
        await settle(pilot)
        assert "block 3" in screen_text(app) or "block(3)" in screen_text(app)


async def test_what_needs_an_engine_says_so(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await typed(app, pilot, "continue")
        await until(pilot, lambda: "continue: this is a recorded session" in note(app))


async def test_reverse_step_goto_and_bookmarks_move_over_the_record(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        last = app.clock.last_step
        await left(app, pilot, "reverse-step 3")
        assert app.clock.step == last - 3
        await left(app, pilot, "bookmark here")
        await left(app, pilot, "goto start")
        assert app.clock.step == 0
        await left(app, pilot, "goto here")
        assert app.clock.step == last - 3
        await left(app, pilot, "goto end")
        assert app.clock.live
        await typed(app, pilot, "goto 9999")
        await until(pilot, lambda: "there is no step 9999" in note(app))


async def test_help_lists_every_command(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await left(app, pilot, "help")
        assert isinstance(app.screen, Page)
        assert "break [at STAGE] [if EXPR]" in screen_text(app)


# -- what was said ------------------------------------------------------------------------------------------


async def test_an_answer_stays_where_it_leads_and_goes_with_the_next_move(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await left(app, pilot, "last kv.free")
        line = app.screen.query_one("#message", OneLine)
        await until(pilot, lambda: "kv.free: " in line.text())
        assert not app.clock.live
        await press(pilot, "[")
        assert "kv.free: " not in line.text()


async def test_why_a_key_is_disabled_is_whole_in_a_narrow_window_and_what_is_cut_has_a_mark(
    session: Path,
) -> None:
    async with workbench_on(session, (80, 24)) as (app, pilot):
        await press(pilot, "R")
        line = app.screen.query_one("#message", OneLine)
        assert line.text().startswith(" not now: this is a recorded session")
        app.say("x" * 100)
        assert line.text() == f" {'x' * 78}…"


async def test_what_the_engine_has_no_longer_is_printed_from_the_record(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await left(app, pilot, 'break if req == "2" and pos == 10')
        await left(app, pilot, "commands 1 : print pos ; print step")
        await press(pilot, "c")
        await until(pilot, lambda: isinstance(app.screen, Page))
        stop = app.engine.stop
        assert stop is not None
        assert "pos = 10" in screen_text(app)
        assert f"step = {stop.step}" in screen_text(app)
        await press(pilot, "escape", "n")
        await until(pilot, lambda: app.clock.live and app.clock.step > stop.step)
        token = app.scene.record.token_ids("2")[10]
        await left(app, pilot, "select 2 10")
        await left(app, pilot, "print token")
        line = app.screen.query_one("#message", OneLine)
        await until(pilot, lambda: f"token = {token}" in line.text())


# -- keys that are faster than the line --------------------------------------------------------------------


def at_once(app: WorkbenchApp, characters: str) -> None:
    """Press keys as a paste does, none of them answered before the next."""
    names = {":": "colon", " ": "space", "\r": "enter"}
    for character in characters:
        app.post_message(Key(names.get(character, character), character))


async def test_keys_pressed_before_the_line_is_there_are_typed_into_it(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        at_once(app, ":goto 2\r")
        await until(pilot, lambda: app.clock.step == 2)
        await until(pilot, lambda: not isinstance(app.screen, CommandLine))
        at_once(app, "g1\r")
        await until(pilot, lambda: app.clock.step == 1)
        await settle(pilot)
