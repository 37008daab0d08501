"""A plugin that somebody else made, installed with pip: in runs, in replays, on the screen, in exports."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import admission
from engine import events as ev
from engine.kv import eviction
from engine.params import EngineOptions, SamplingParams
from engine.protocol import RequestText
from plugins import finding
from sessions.reader import Session
from tests.commands import BUNDLED, ROOT, Ran, run
from tests.plugged import install_stranger
from tests.screens import press, screen_text, settle, workbench_on
from tests.test_app_live import until
from workbench import exporting
from workbench.app import WorkbenchApp
from workbench.cli.engine_command import engine_command
from workbench.cli.plugging import added_by, plugged_in
from workbench.source import Live, Recorded

PROMPTS = ("--prompt", "def f(x):", "--prompt", "class A:\n    def", "--prompt", "import os")


@pytest.fixture(scope="module", autouse=True)
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Installed while these tests run, for this process and for those that it starts."""
    site = install_stranger(tmp_path_factory.mktemp("stranger"))
    tables = (admission.POLICIES, eviction.POLICIES, exporting.FORMATS)
    before = [dict(table) for table in tables]  # type: ignore[call-overload]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", os.pathsep.join((str(site), str(ROOT))))
        finding.installed.cache_clear()
        yield
    finding.installed.cache_clear()
    for table, kept in zip(tables, before, strict=True):
        table.clear()  # type: ignore[attr-defined]
        table.update(kept)  # type: ignore[attr-defined]


def record(path: Path, options: str = "", *more: str) -> Ran:
    plugin = f"stranger={options}" if options else "stranger"
    return run(
        "record", *PROMPTS, "--plugin", plugin, "--max-tokens", "12", "--kv-blocks", "3", "--block-size", "8",
        "--eviction", "newest", "--policy", "shortest", "-o", path, "--json", *more,
    )  # fmt: skip


def events_of(path: Path) -> list[ev.AnyEvent]:
    with Session.open(path) as session:
        view = session.events()
        return [row.event for row in view.rows(0, len(view))]


def outputs(ran: Ran) -> list[list[int]]:
    return [request["output_ids"] for request in json.loads(ran.out)["requests"]]


def test_it_is_listed_and_the_one_that_is_broken_says_why() -> None:
    told = {each["name"]: each for each in json.loads(run("plugins", "ls", "--json").out)}
    assert told["stranger"]["version"] == "2.1.0"
    assert told["stranger"]["source"] == "workbench-stranger"
    assert not told["stranger"]["built_in"]
    kinds = [each["kind"] for each in told["stranger"]["brings"]]
    assert kinds == ["logits processor", "eviction policy", "scheduling policy", "panel", "command", "exporter",
                     "importer"]  # fmt: skip
    assert told["stranger-broken"]["problem"].endswith("ZeroDivisionError: no such luck")


def test_it_changes_what_is_chosen_evicted_and_admitted_and_a_replay_agrees(tmp_path: Path) -> None:
    path = tmp_path / "run.wbs"
    ran = record(path)
    assert ran.code == 0, ran.err
    said = events_of(path)
    changed = [event for event in said if isinstance(event, ev.LogitsChanged)]
    assert changed
    assert {event.position % 4 for event in changed} == {0}
    admitted = [event.request for event in said if isinstance(event, ev.Admitted)]
    assert admitted[0] == "3"  # the shortest prompt
    assert {event.policy for event in said if isinstance(event, ev.Evicted)} == {"newest"}
    assert not [event for event in said if isinstance(event, ev.PluginDisabled)]
    with Session.open(path) as session:
        (used,) = session.header.plugins
        assert (used.name, used.version, used.source) == ("stranger", "2.1.0", "workbench-stranger")
        first = changed[0]
        details = session.details(first.request, first.position)
        assert details is not None
        assert [(stage.stage, stage.setting) for stage in details.stages] == [("stranger", 1.0)]
        assert details.token not in first.change.removed
        assert details.rank > 1
    assert run("replay", path, "--json").code == 0


@pytest.mark.parametrize("hook", ["processor", "eviction", "policy"])
@pytest.mark.parametrize("how", ["raise", "contract"])
def test_what_fails_is_disabled_once_recorded_and_repeated(tmp_path: Path, hook: str, how: str) -> None:
    path = tmp_path / "run.wbs"
    ran = record(path, f"{hook}:{how}")
    assert ran.code == 0
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("workbench: plugin stranger: ")
    (disabled,) = [event for event in events_of(path) if isinstance(event, ev.PluginDisabled)]
    assert disabled.why == {"raise": "raised", "contract": "broke_contract"}[how]
    assert (disabled.policy, disabled.eviction) == ("fcfs", "lru")
    assert all(len(output) == 12 for output in outputs(ran))
    assert run("replay", path).out.startswith("identical")


@pytest.mark.parametrize(("hook", "how"), [("processor", "loop"), ("policy", "loop"), ("eviction", "sleep")])
def test_what_never_returns_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str, how: str
) -> None:
    monkeypatch.setattr("engine.plug_guard.call_hook.__kwdefaults__", None)
    monkeypatch.setattr("engine.plug_guard.call_hook.__defaults__", (0.2,))
    path = tmp_path / "run.wbs"
    ran = record(path, f"{hook}:{how}")
    assert ran.code == 0
    (disabled,) = [event for event in events_of(path) if isinstance(event, ev.PluginDisabled)]
    assert disabled.why == "too_slow"
    assert all(len(output) == 12 for output in outputs(ran))
    assert run("replay", path).out.startswith("identical")


def test_without_it_the_engine_chooses_as_if_it_had_never_been_there(tmp_path: Path) -> None:
    failed = record(tmp_path / "a.wbs", "processor:raise,every:1000")
    pool = ("--kv-blocks", "3", "--block-size", "8")
    plain = run("record", *PROMPTS, "--max-tokens", "12", *pool, "-o", tmp_path / "b.wbs", "--json")
    assert outputs(failed) == outputs(plain)


def test_what_it_is_told_wrongly_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    for options, line in (
        ("evry:3", "plugin stranger has no option evry: it takes every, ban, processor, eviction, policy, panel"),
        ("every:0", "plugin stranger: option every is '0': it must be a whole number of at least 1"),
        ("panel:maybe", "plugin stranger: option panel is 'maybe': it must be one of contract, loop, none"),
        ("every:1,every:2", "plugin stranger: option every is given twice"),
    ):
        ran = record(tmp_path / "run.wbs", options)
        assert ran.code == 2
        assert ran.err.startswith(f"workbench: {line}")
        assert ran.err.count("\n") == 1
    broken = run("record", "--prompt", "x", "--plugin", "stranger-broken", "-o", tmp_path / "run.wbs")
    assert (broken.code, broken.err.count("\n")) == (2, 1)
    assert not list(tmp_path.iterdir())


def test_a_policy_of_a_plugin_that_is_not_on_is_refused(tmp_path: Path) -> None:
    admission.POLICIES.pop("shortest", None)
    ran = run("record", "--prompt", "x", "--policy", "shortest", "-o", tmp_path / "run.wbs")
    assert (ran.code, "--policy is 'shortest': use" in ran.err) == (2, True)


def test_a_replay_without_it_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.wbs"
    record(path)
    monkeypatch.setattr("workbench.cli.plugging.installed", dict)
    ran = run("replay", path)
    assert ran.code == 2
    assert ran.err == (
        "workbench: this session ran with plugin stranger 2.1.0, which is not here:"
        " install it, or name its file with --plugin FILE.py\n"
    )


async def test_its_panel_and_command_are_in_the_running_workbench(tmp_path: Path) -> None:
    path = tmp_path / "run.wbs"
    plugged, _ = plugged_in(["stranger"])
    options = EngineOptions(threads=1, dtype="float32", plugins=plugged.asked, eviction="newest")
    workload = [RequestText(prompt="def f(x):", params=SamplingParams(max_tokens=30))]
    live = Live(engine_command(), BUNDLED, path, options, workload, log=tmp_path / "log")
    app = WorkbenchApp(live, added=added_by(["stranger=panel:none"]))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.desk is not None and app.engine.state == "paused")
        await pilot.press("n", "n")
        await until(pilot, lambda: app.clock.step == 2)
        app.act("view.count")
        await settle(pilot)
        assert "step 2 with 1 live" in screen_text(app)
        assert "[b]not red[/b]" in screen_text(app)
        assert "Counting" in screen_text(app)
        app.shell.run("shout out loud", lambda problem: None)
        await settle(pilot)
        assert "OUT LOUD!" in screen_text(app)


@pytest.mark.parametrize("how", ["raise", "loop", "contract"])
async def test_a_panel_that_fails_says_so_and_the_session_records_it(tmp_path: Path, how: str) -> None:
    path = tmp_path / "run.wbs"
    options = EngineOptions(threads=1, dtype="float32", plugins=plugged_in(["stranger"])[0].asked)
    workload = [RequestText(prompt="def f(x):", params=SamplingParams(max_tokens=30))]
    live = Live(engine_command(), BUNDLED, path, options, workload, log=tmp_path / "log")
    app = WorkbenchApp(live, added=added_by([f"stranger=panel:{how}"]))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.desk is not None and app.engine.state == "paused")
        app.act("view.count")
        await settle(pilot)
        assert "it is not asked again" in screen_text(app)
        await pilot.press("n", "n")
        await until(pilot, lambda: app.clock.step == 2)
    (disabled,) = [event for event in events_of(path) if isinstance(event, ev.PluginDisabled)]
    assert (disabled.plugin, disabled.hook) == ("stranger", "panel_lines")


async def test_without_its_policy_the_screen_says_that_the_order_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "run.wbs"
    record(path)
    eviction.POLICIES.pop("newest")
    async with workbench_on(Recorded(path)) as (app, pilot):
        app.seek(14)
        await settle(pilot)
        await press(pilot, "4", "5")
        shown = " ".join(screen_text(app).split())
        assert "next to be evicted (newest)" in shown
        assert "What goes next is decided by policy newest" in shown


async def test_its_policy_orders_what_the_screen_says_goes_next(tmp_path: Path) -> None:
    path = tmp_path / "run.wbs"
    record(path)
    for how in ("none", "raise"):
        async with workbench_on(Recorded(path), added=added_by([f"stranger=eviction:{how}"])) as (app, pilot):
            await press(pilot, "5")
            state = app.scene.moment.state
            assert state.blocks.cached
            shown = " ".join(screen_text(app).split())
            assert "next to be evicted (newest)" in shown
            assert ("What goes next is decided by" in shown) == (how == "raise")


async def test_a_command_that_fails_is_said_and_not_run_again(demo_session: Path) -> None:
    added = added_by(["stranger=command:contract"])
    async with workbench_on(Recorded(demo_session), added=added) as (app, pilot):
        for _ in range(2):
            app.shell.run("shout hello", lambda problem: None)
            await settle(pilot)
            assert "plugin stranger: run_command returned int, not a list of lines" in screen_text(app)
        await press(pilot, "0")


async def test_the_palette_has_its_panel_its_command_and_its_options(demo_session: Path) -> None:
    async with workbench_on(Recorded(demo_session), added=added_by(["stranger=every:7"])) as (app, _pilot):
        found = {entry.action.title: entry.action.help for entry in app.actions.everything()}
        assert "Open Counting" in found
        assert "Run shout" in found
        assert "every 7" in found["About plugin stranger"]


def test_what_it_exports_it_imports_again(tmp_path: Path) -> None:
    path, out = tmp_path / "run.wbs", tmp_path / "x.events.json"
    record(path)
    exported = run("export", path, "--to", "stranger-events", "--plugin", "stranger", "-o", out)
    assert exported.code == 0, exported.err
    ran = run("sessions", "import", out, "--from", "stranger-events", "--plugin", "stranger", "--name", "again",
              "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    assert events_of(Path(json.loads(ran.out)["session"])) == events_of(path)
    document = json.loads(out.read_text())
    document["events"] = [each for each in document["events"] if each["type"] != "admitted"]
    out.write_text(json.dumps(document))
    bad = run("sessions", "import", out, "--from", "stranger-events", "--plugin", "stranger", "--name", "bad")
    assert (bad.code, bad.err.count("\n")) == (2, 1)
    assert "no session was made" in bad.err
    assert run("sessions", "show", "bad").code == 2


@pytest.mark.parametrize("command", ["run", "record", "chaos", "open", "export", "sessions import"])
def test_help_tells_its_options(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    text = run(*command.split(), "--help").out
    assert "stranger: A bit of everything. Options: every (a whole number of at least 1; 4)" in text
    assert "stranger-broken: import raised ZeroDivisionError" in text
