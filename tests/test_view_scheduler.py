"""View 6: lanes, Gantt and charts agree with the folded state, and every decision carries its inequality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine import events as ev
from engine import reasons as why
from engine.state import RequestState
from sessions.steps import StepCounts
from tests.desks import desk_on
from tests.recorded import record_demo
from tests.screens import check_frame, press, screen_text, settle, view_text, workbench_on
from workbench.app import WorkbenchApp
from workbench.bench import Scene
from workbench.record import Record
from workbench.selection import Selection
from workbench.views.decisions import Told
from workbench.views.scheduler import SchedulerView, decision_lines
from workbench.views.scheduler_decisions import MOST_DECISIONS, comparison, inequality, told_in
from workbench.views.scheduler_gantt import RequestLanes
from workbench.views.scheduler_lanes import lanes_of
from workbench.views.scheduler_series import CHUNK, StepColumns, series_of
from workbench.widgets.cells import cell_len
from workbench.widgets.gantt import Gantt, Phase
from workbench.widgets.spans import plain
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import TextPane

SIZES = [(80, 24), (120, 40), (200, 60)]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scheduler") / "run.wbs"
    record_demo(path)
    return path


@pytest.fixture(scope="module")
def record(session: Path) -> Record:
    return Record.open(session)


def scenes(record: Record) -> Iterator[Scene]:
    """Every moment of the run."""
    desk = desk_on(record)
    for step in range(record.last_step + 1):
        desk.seek(step)
        yield desk.scene


def step_of(record: Record, kind: type[ev.Event]) -> int:
    """The first step with such an event."""
    steps = range(record.last_step + 1)
    return next(step for step in steps for row in record.events_of(step) if type(row.event) is kind)


# -- what is shown is so ---------------------------------------------------------------------------------


def test_every_request_that_arrived_is_in_one_lane(record: Record) -> None:
    for scene in scenes(record):
        waiting, running, preempted, finished = lanes_of(scene)
        everybody = [*waiting.requests, *running.requests, *preempted.requests, *finished.requests]
        assert sorted(everybody) == sorted(row.request for row in scene.moment.arrived)
        states = scene.moment.state.requests
        assert all(states[each].state is RequestState.WAITING for each in waiting.requests)
        assert all(states[each].state is RequestState.PREEMPTED for each in preempted.requests)
        assert set(running.requests) == set(scene.moment.state.running)
        for lane in lanes_of(scene):
            assert lane.title.startswith(f"{lane.name} {len(lane)}")
            for index, request in enumerate(lane.requests):
                assert plain(lane.row(index)[0]) == request
                assert lane.changed(index) == (request in scene.moment.changes.moved)


def test_a_waiting_request_says_the_numbers_that_keep_it_waiting(record: Record) -> None:
    shown = {
        type(scene.moment.state.requests[request].wait): plain(lane.row(index)[-1])
        for scene in scenes(record)
        for lane in lanes_of(scene)[:3:2]
        for index, request in enumerate(lane.requests)
    }
    assert why.NoFreeBlocks in shown
    assert " > " in shown[why.NoFreeBlocks]
    assert all(shown.values())


def test_the_gantt_draws_what_each_step_did(record: Record) -> None:
    """Every batch of the run, and every request that waited through a step."""
    lanes = RequestLanes(record)
    assert lanes.steps == record.last_step + 1
    for scene in scenes(record):
        step, state = scene.moment.step, scene.moment.state
        for work in scene.moment.batch:
            lane = lanes.lane_of(work.request)
            assert lane is not None
            phase = Phase(lanes.phases(lane, step, step + 1)[0])
            expected = {Phase.DECODE} if work.phase == "decode" else {Phase.PREFILL, Phase.CACHED}
            assert phase in expected
        for _, request in state.waiting:
            if state.requests[request].state_step < step and state.requests[request].submitted_step < step:
                lane = lanes.lane_of(request)
                assert lane is not None
                assert lanes.phases(lane, step, step + 1)[0] == Phase.WAITING


def test_a_preemption_is_one_cut_and_then_waiting(record: Record) -> None:
    lanes = RequestLanes(record)
    whole = {lanes.request(lane): lanes.phases(lane, 0, lanes.steps) for lane in range(len(lanes))}
    for scene in scenes(record):
        for row in scene.moment.events:
            if isinstance(row.event, ev.Preempted):
                phases = whole[row.event.request]
                assert phases[row.event.step] == Phase.PREEMPTED
                if row.event.step + 1 < len(phases):
                    assert phases[row.event.step + 1] != Phase.PREEMPTED
    cuts = sum(phases.count(Phase.PREEMPTED) for phases in whole.values())
    assert cuts == record.state_at(record.last_step).totals.preemptions


def test_parts_of_lanes_agree_with_the_whole(record: Record) -> None:
    lanes = RequestLanes(record)
    for lane in range(len(lanes)):
        whole = lanes.phases(lane, 0, lanes.steps)
        for start in range(0, lanes.steps, 7):
            assert lanes.phases(lane, start, min(start + 7, lanes.steps)) == whole[start : start + 7]


def test_charts_have_the_numbers_of_the_steps(record: Record) -> None:
    columns = StepColumns(record)
    assert columns.read(0, record.last_step + 1)
    queue, batch, pool = series_of(columns, record)
    assert len(queue) == record.last_step + 1
    for row in record.step_rows(1, record.last_step + 1):
        here = (row.step, row.step + 1)
        assert queue.values(*here)[0] == row.waiting + row.preempted
        assert batch.values(*here)[0] == row.tokens
        assert pool.values(*here)[0] == row.owned_blocks
    assert pool.limit == record.about.num_blocks


def test_charts_read_a_part_at_a_time(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    counts = record.step_counts

    def counted(start: int, stop: int) -> Sequence[StepCounts]:
        asked.append((start, stop))
        return counts(start, stop)

    monkeypatch.setattr(record, "step_counts", counted)
    monkeypatch.setattr(record, "_last_step", 1_000_000)
    columns = StepColumns(record)
    assert columns.read(500_000, 500_100)
    assert len(asked) == 1
    assert not columns.read(0, 1_000_000)
    assert len(asked) < 10
    assert max(stop - start for start, stop in asked) == CHUNK
    columns.read(500_000, 500_100)
    assert len(asked) < 10


def test_decisions_carry_their_inequality() -> None:
    assert comparison(why.NoFreeBlocks(29, 28, 0)) == "29 > 28 + 0 blocks"
    assert comparison(why.TokenBudgetSpent(1, 128, 128)) == "128 + 1 > 128 tokens"
    assert comparison(why.MaxRunning(2, 63, 64)) == "63 + 2 > 64 requests"
    assert comparison(why.BehindOlder()) == ""
    evicted = ev.Evicted(
        branch=0, step=4, node=3, blocks=(7, 6), tokens=8, hits=0, last_use_step=1, policy="lru", for_request="5"
    )
    admitted = ev.Admitted(
        branch=0, step=4, request="5", resumed=False, cached_tokens=0, tokens=9, need_blocks=3, free_blocks=1
    )
    assert inequality(admitted, [Told(4, evicted), Told(4, admitted)]) == "3 ≤ 1 + 2 evicted blocks"
    assert inequality(admitted, [Told(4, admitted)]) == "3 ≤ 1 blocks"


def test_inequalities_of_the_run_hold(record: Record) -> None:
    """What is written is true: a wait's left side is larger, an admission's is not."""
    seen = 0
    for scene in scenes(record):
        told = told_in(scene)
        for each in told:
            text = inequality(each.event, told).removesuffix(" blocks").removesuffix(" tokens")
            text = text.removesuffix(" requests").replace(" evicted", "")
            for sign, holds in ((">", lambda a, b: a > b), ("≤", lambda a, b: a <= b), ("<", lambda a, b: a < b)):
                if sign in text:
                    sides = [sum(int(part) for part in side.split("+")) for side in text.split(sign)]
                    assert holds(*sides), text
                    seen += 1
    assert seen > 10


def test_a_step_with_too_many_decisions_says_how_many_are_left_out(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = next(each for each in scenes(record) if each.moment.decisions)
    many = [scene.moment.decisions[0]] * (MOST_DECISIONS + 5)
    monkeypatch.setitem(scene.moment.__dict__, "decisions", many)
    lines = decision_lines(scene, told_in(scene))
    assert len(lines) == MOST_DECISIONS + 1
    assert plain(lines[-1]).startswith("5 more in this step")


def test_text_says_it_all_without_a_screen(record: Record) -> None:
    view = SchedulerView()
    for scene in scenes(record):
        text = view.text(scene, 100)
        assert all(cell_len(line) <= 100 for line in text.splitlines())
        assert "requests by steps" in text


# -- on the screen ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_frame(session: Path, record: Record, size: tuple[int, int]) -> None:
    async with workbench_on(session, size) as (app, pilot):
        app.seek(step_of(record, ev.Preempted))
        await press(pilot, "6")
        check_frame(view_text(app), f"views/scheduler-{size[0]}x{size[1]}")


async def test_the_gantt_selects_a_request_and_a_step_and_enter_goes_there(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(12)
        await press(pilot, "6")
        gantt = app.query_one(Gantt)
        gantt.focus()
        await press(pilot, "home", "down", "right", "right")
        assert app.selection.request == RequestLanes(app.scene.record).request(gantt.row)
        assert app.selection.step == gantt.column == 2
        assert app.scene.moment.step == 12
        assert "enter goes to step 2" in screen_text(app)
        await press(pilot, "enter")
        assert app.scene.moment.step == 2
        await press(pilot, "]")
        assert gantt.column == 3


async def test_zooming_the_gantt_zooms_the_charts_below_it(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "6")
        app.query_one(Gantt).focus()
        await press(pilot, "minus")
        view = app.view
        assert isinstance(view, SchedulerView)
        assert view.chart.zoom == view.gantt.zoom == -1
        assert view.chart.track.first == view.gantt.track.first


async def test_a_click_in_a_lane_selects_the_request(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(next(scene.moment.step for scene in scenes(record) if len(scene.moment.state.running) > 2))
        await press(pilot, "6")
        await pilot.click("#scheduler-running", offset=(9, 3))
        await settle(pilot)
        assert app.selection.request == list(app.scene.moment.state.running)[1]


async def test_enter_in_a_lane_opens_the_request_under_the_cursor(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(next(scene.moment.step for scene in scenes(record) if len(scene.moment.state.running) > 2))
        running = list(app.scene.moment.state.running)
        app.select(Selection(request=running[0]))
        await press(pilot, "6")
        lane = app.query_one("#scheduler-running", LineTable)
        lane.focus()
        lane.show_cursor(1)  # as where the selected request is in another lane
        await press(pilot, "enter")
        assert app.selection.request == running[1]
        assert opened(app) == "tokens"


async def test_enter_selects_what_a_decision_speaks_of_and_again_opens_its_view(
    session: Path, record: Record
) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(step_of(record, ev.Evicted))
        await press(pilot, "6")
        pane = app.query_one("#scheduler-decisions", TextPane)
        told = told_in(app.scene)
        row = next(at for at, each in enumerate(told) if isinstance(each.event, ev.Evicted))
        pane.focus()
        pane.move_to(row)
        await press(pilot, "enter")
        event = told[row].event
        assert isinstance(event, ev.Evicted)
        assert app.selection.block == event.blocks[0]
        assert opened(app) == "scheduler"
        pane.move_to(row)
        await press(pilot, "enter")
        assert opened(app) == "radix"


async def test_v_opens_the_view_of_a_decision(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(step_of(record, ev.Preempted))
        await press(pilot, "6")
        told = told_in(app.scene)
        row = next(at for at, each in enumerate(told) if isinstance(each.event, ev.Preempted))
        app.query_one("#scheduler-decisions", TextPane).move_to(row)
        await press(pilot, "v")
        event = told[row].event
        assert isinstance(event, ev.Preempted)
        assert app.selection.request == event.request
        assert opened(app) == "blocks"


async def test_search_finds_requests_and_decisions(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(step_of(record, ev.Preempted))
        await press(pilot, "6")
        view = app.view
        assert isinstance(view, SchedulerView)
        assert view.search("2", 1) == "request 2"
        assert app.selection.request == "2"
        assert "is preempted" in view.search("is preempted", 1)
        assert "no request is called" in view.search("xyz", 1)


def opened(app: WorkbenchApp) -> str:
    assert app.view is not None
    return app.view.view_name


async def test_a_request_selected_elsewhere_is_found_in_its_lane(session: Path, record: Record) -> None:
    async with workbench_on(session) as (app, pilot):
        app.seek(next(scene.moment.step for scene in scenes(record) if len(scene.moment.state.running) > 2))
        request = list(app.scene.moment.state.running)[-1]
        await press(pilot, "6")
        app.select(replace(app.selection, request=request))
        await settle(pilot)
        lane = lanes_of(app.scene)[1]
        assert app.query_one("#scheduler-running").cursor == lane.index_of(request)  # type: ignore[attr-defined]
        assert app.query_one("#scheduler-finished").quiet  # type: ignore[attr-defined]
