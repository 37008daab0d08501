"""View 8 on runs with drafts: lanes over the text, the ledger of a pass, rates, and the run's plugins."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine import events as ev
from engine.engine import Engine
from engine.plug_guard import PluginFailedError
from sessions.plugin_deeds import Deeds
from sessions.reader import Session
from tests.drafted import SETTINGS, record_drafted
from tests.recorded import record_demo
from tests.screens import check_frame, press, screen_text, settle, view_text, workbench_on
from workbench.app import WorkbenchApp
from workbench.views.drafts import DraftsPart
from workbench.views.drafts_data import DraftRounds
from workbench.views.drafts_tables import DraftLanes, LedgerRows, ResidualRows
from workbench.views.plugins import PluginsView
from workbench.views.plugins_run import UNNAMED, PluginRows
from workbench.widgets.glyphs import UNICODE
from workbench.widgets.spans import plain

SIZES = [(80, 24), (120, 40), (200, 60)]
GREEDY, DRAWN = "1", "2"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drafts") / "drafted.wbs"
    record_drafted(path)
    return path


async def drafts_of(
    app: WorkbenchApp, pilot: Pilot[int], request: str, position: int | None = None
) -> DraftsPart:
    """Open the view on a request; wait until all of it was read."""
    app.select(replace(app.selection, request=request, position=position))
    await press(pilot, "8")
    await app.workers.wait_for_complete()
    await settle(pilot)
    assert isinstance(app.view, PluginsView)
    return app.view.drafts


def rejected_in(session: Path, request: str) -> ev.Verified:
    """The first pass of a request that accepted a draft, and rejected one by a draw."""
    with Session.open(session) as opened:
        events = (row.event for row in opened.events().rows(0, opened.last_seq))
        return next(
            event
            for event in events
            if isinstance(event, ev.Verified) and event.request == request and event.residual is not None
            and event.drafts[0].verdict == "accepted"
        )  # fmt: skip


def without_times(text: str) -> str:
    """The clock's numbers blanked, up to the border."""
    return re.sub(r"about [\d,.]+ ms [^│]*", lambda found: "about".ljust(len(found[0])), text)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_frame(session: Path, size: tuple[int, int], turns: int) -> None:
    if turns and size[0] > 80:
        pytest.skip("all of it is on the screen")
    position = rejected_in(session, DRAWN).position + 1
    async with workbench_on(session, size) as (app, pilot):
        await drafts_of(app, pilot, DRAWN, position)
        await press(pilot, *("m" * turns))
        check_frame(without_times(view_text(app)), f"views/drafts-{turns}-{size[0]}x{size[1]}")


def test_lanes_are_the_output_over_what_was_drafted(session: Path) -> None:
    with Session.open(session) as opened:
        found = DraftRounds(opened, DRAWN, 0)
        found.read(opened)
        lanes = DraftLanes(found, str, UNICODE)
        tokens = opened.tokens_of(DRAWN)
        assert [lanes.lane(index).above for index in range(len(lanes))] == list(map(str, tokens[lanes.first :]))
        marks = {at: lanes.lane(at - lanes.first).below for at in range(lanes.first, lanes.first + len(lanes))}
        for one in found.rounds:
            below = [marks[at] for at in range(one.position, one.stop)]
            if one.verified is None:
                assert below == [""]
                continue
            assert below[: one.accepted] == ["="] * one.accepted
            if one.verified.bonus is not None:
                assert below[-1] == "+"
            elif one.verified.residual is not None:
                assert below[-1] == f"✗{one.verified.drafts[one.accepted].token}"


async def test_the_ledger_has_the_numbers_of_the_event(session: Path) -> None:
    event = rejected_in(session, DRAWN)
    accepted = sum(each.verdict == "accepted" for each in event.drafts)
    async with workbench_on(session) as (app, pilot):
        part = await drafts_of(app, pilot, DRAWN, event.position)
        rows = part.ledger.model
        assert isinstance(rows, LedgerRows)
        for index, draft in enumerate(event.drafts):
            shown = [plain(cell) for cell in rows.row(index)]
            numbers = [f"{each:.4f}" if each is not None else "–" for each in (draft.q, draft.p)]
            assert shown[1:3] == numbers
            assert shown[-2:] == [f"{draft.draw:.4f}" if draft.draw is not None else "–", draft.verdict]
        assert plain(rows.row(len(event.drafts))[-1]) == "residual"
        assert part.ledger.cursor == 0
        assert part.draw.draw == event.drafts[0].draw
        assert part.draw.shares[0].probability == min(1.0, event.drafts[0].ratio or 0)
        app.select(replace(app.selection, position=event.position + accepted))
        await settle(pilot)
        assert part.ledger.cursor == len(event.drafts)
        assert event.residual is not None
        assert part.draw.draw == event.residual.draw
        low, width, _ = (share.probability for share in part.draw.shares)
        assert (low, low + width) == pytest.approx((event.residual.low, event.residual.high))
        residual = part.residual.model
        assert isinstance(residual, ResidualRows)
        assert [plain(residual.row(at)[1]) for at in range(len(residual))] == [
            f"{prob:.4f}" for prob in event.residual.probs
        ]


async def test_a_token_is_selected_in_all_views(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        part = await drafts_of(app, pilot, DRAWN)
        part.lanes.focus()
        await press(pilot, "home", "right", "right")
        assert part.found is not None
        assert app.selection.position == part.found.rounds[0].position + 2
        part.course.focus()
        await press(pilot, "end")
        assert app.selection.position == part.found.rounds[-1].position
        part.lanes.focus()
        await press(pilot, "enter")
        assert app.clock.step == part.found.rounds[-1].step


async def test_exactness_is_said_for_greedy_and_drawn(session: Path) -> None:
    async with workbench_on(session) as (app, pilot):
        await drafts_of(app, pilot, GREEDY)
        assert re.search(r"exact  compared: all \d+ are the target's likeliest", screen_text(app))
        await drafts_of(app, pilot, DRAWN)
        assert re.search(
            r"consistent  the likeliest taken \d+ times in \d+, [\d.]+ expected: z", screen_text(app)
        )


async def test_long_requests_are_read_away_from_the_screen(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.views.drafts.MOST_AT_ONCE", 2)
    monkeypatch.setattr("workbench.views.drafts_data.MOST_AT_ONCE", 2)
    async with workbench_on(session) as (app, pilot):
        part = await drafts_of(app, pilot, DRAWN)
        assert part.found is not None
        assert part.found.complete
        assert part.found.stop_position == len(app.scene.record.token_ids(DRAWN))
        assert "reading" not in screen_text(app)


async def test_without_drafts_the_view_begins_elsewhere(tmp_path: Path) -> None:
    record_demo(tmp_path / "demo.wbs")
    async with workbench_on(tmp_path / "demo.wbs") as (app, pilot):
        await press(pilot, "8")
        assert isinstance(app.view, PluginsView)
        assert app.view.face == "quantization"
        app.act("plugins.drafts")
        await settle(pilot)
        assert "nothing was drafted up to this step" in screen_text(app)
        await press(pilot, "m")
        assert "This run had no plugins" in screen_text(app)


async def test_the_runs_plugins_say_what_they_did(session: Path) -> None:
    with Session.open(session) as opened:
        drafted = sum(isinstance(row.event, ev.Drafted) for row in opened.events().rows(0, opened.last_seq))
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "8")
        app.act("plugins.plugins")
        await settle(pilot)
        await app.workers.wait_for_complete()
        await settle(pilot)
        shown = screen_text(app)
    assert "guesser" in shown
    assert f"drafted {drafted} times" in shown


def test_a_plugin_that_no_event_names_is_judged_when_all_events_were_seen(tmp_path: Path) -> None:
    record_drafted(tmp_path / "run.wbs")
    with Session.open(tmp_path / "run.wbs") as opened:
        seen, events = Deeds(), opened.last_seq
        assert PluginRows((), (), seen, events).did("guesser") == "nothing in the first 0 events"
        assert seen.scan(opened)
    rows = PluginRows((), (), seen, events)
    assert rows.did("guesser").startswith("drafted ")
    assert rows.did("other") == UNNAMED


def test_deeds_are_counted_in_parts_and_failures_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = record_drafted(tmp_path / "run.wbs")
    assert engine.plugs.drafter is not None
    with Session.open(tmp_path / "run.wbs") as opened:
        whole = Deeds()
        assert whole.scan(opened)
        monkeypatch.setattr("sessions.plugin_deeds.SCAN_EVENTS", 7)
        parts = Deeds()
        while not parts.scan(opened):
            pass
    assert parts == whole
    assert set(whole.of("guesser")) == {"drafted"}
    assert whole.disabled == {}


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_plugin_that_failed_is_told_with_its_line(tmp_path: Path, size: tuple[int, int]) -> None:
    def fail(engine: Engine) -> None:
        engine.run(5)
        engine.disable_plugin(PluginFailedError("guesser", "propose_drafts", "raised", "raised ValueError: no"))

    record_drafted(tmp_path / "run.wbs", SETTINGS[1:], fail)
    async with workbench_on(tmp_path / "run.wbs", size) as (app, pilot):
        await press(pilot, "8")
        app.act("plugins.plugins")
        await settle(pilot)
        await app.workers.wait_for_complete()
        await settle(pilot)
        shown = " ".join(view_text(app).split())
        assert "disabled in step 5" in shown
        assert "propose_drafts raised ValueError: no" in shown
        check_frame(view_text(app), f"views/plugins-run-{size[0]}x{size[1]}")
