"""What the screens stand on, without a screen: the clock, the desk, changes, settings, inspections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine import events as ev
from engine import protocol as pr
from engine.params import OptionError
from engine.state import RequestState
from sessions.event_log import EventFilter
from tests.recorded import record_demo
from workbench.action_book import default_keys
from workbench.bench import News
from workbench.clock import Clock
from workbench.desk import Desk
from workbench.engine_link import NO_ENGINE
from workbench.inspections import Inspections, Look
from workbench.promptbox import FIELDS, read_request
from workbench.record import Record
from workbench.settings import SettingsError, read_settings
from workbench.views.event_filter import FilterError, parse_filter, written
from workbench.views.registry import VIEWS, ViewSpec
from workbench.widgets.blockmap import CHANGED


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "run.wbs"
    record_demo(path)
    return path


@pytest.fixture
def desk(session: Path) -> Iterator[Desk]:
    record = Record.open(session)
    yield Desk(record, lambda: NO_ENGINE, Inspections(lambda _command: 0, lambda: "no engine"))
    record.close()


# -- clock ---------------------------------------------------------------------------------------------


def test_a_live_clock_follows_and_one_in_the_past_stays() -> None:
    clock = Clock()
    assert clock.grown(5)
    assert clock.step == 5
    assert clock.back()
    assert not clock.grown(9)
    assert clock.step == 4
    assert clock.go_to_end()
    assert clock.step == 9


def test_the_clock_stays_between_the_first_and_the_last_step() -> None:
    clock = Clock()
    clock.grown(3)
    clock.seek(99)
    assert (clock.step, clock.live) == (3, False)
    clock.seek(-2)
    assert clock.step == 0
    assert not clock.back()


# -- moments -------------------------------------------------------------------------------------------


def test_every_moment_says_what_its_step_changed(desk: Desk) -> None:
    for step in range(desk.record.last_step + 1):
        desk.seek(step)
        moment, changes = desk.moment, desk.moment.changes
        before, after = moment.before.blocks, moment.state.blocks
        differ = {
            block for block in range(after.num_blocks)
            if before.state(block) != after.state(block) or before.ref_count[block] != after.ref_count[block]
        }  # fmt: skip
        assert differ <= changes.blocks
        assert {block for block in differ if after.state(block) == "free"} <= changes.freed
        for request, move in changes.moved.items():
            assert move.after is moment.state_of(request)
        assert set(moment.state.tree.nodes) - set(moment.before.tree.nodes) == changes.nodes_created | (
            changes.nodes_split - set(moment.before.tree.nodes)
        )
        assert set(changes.new_tokens) == {
            row.event.request for row in moment.events if isinstance(row.event, ev.Token)
        }


def test_a_moment_in_the_past_knows_who_had_ended(desk: Desk) -> None:
    ended = next(row for row in desk.record.requests() if row.finished_step not in (None, 0))
    assert ended.finished_step is not None
    desk.seek(ended.finished_step - 1)
    assert desk.moment.state_of(ended.request) is not RequestState.FINISHED
    desk.seek(ended.finished_step)
    assert desk.moment.state_of(ended.request) is RequestState.FINISHED
    assert desk.moment.token_count(ended.request) == ended.prompt_tokens + ended.output_tokens


def test_requests_that_have_not_arrived_are_not_there(desk: Desk) -> None:
    late = desk.record.requests()[-1]
    desk.seek(late.submitted_step - 1)
    assert late.request not in {row.request for row in desk.moment.requests}
    assert desk.moment.state_of(late.request) is None
    assert desk.moment.token_count(late.request) == 0


def test_looking_again_at_a_finished_recording_is_no_news(desk: Desk) -> None:
    assert not desk.look()


# -- selection -----------------------------------------------------------------------------------------


def test_a_token_brings_its_step_and_the_block_its_row_is_in(desk: Desk) -> None:
    desk.seek(4)
    live = next(request for request in desk.moment.state.running.values() if request.output_tokens)
    position = live.num_tokens - 1
    assert desk.select(replace(desk.selection, request=live.id, position=position)) == News.SELECTION
    row = desk.record.token_row(live.id, position)
    assert row is not None
    assert desk.selection.step == row.chosen_step
    size = desk.moment.state.blocks.block_size
    assert desk.selection.block == live.table[(position - 1) // size]


def test_another_request_drops_the_token(desk: Desk) -> None:
    one, other = (row.request for row in desk.record.requests()[:2])
    desk.select(replace(desk.selection, request=one, position=3))
    desk.select(replace(desk.selection, request=other))
    assert desk.selection.position is None


def test_selecting_the_same_again_is_no_news(desk: Desk) -> None:
    assert not desk.select(desk.selection)


# -- views as text -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [spec.load_view() for spec in VIEWS], ids=lambda kind: kind.title)
@pytest.mark.parametrize("width", [60, 120])
def test_every_view_has_a_headless_twin(desk: Desk, kind: type, width: int) -> None:
    for step in (0, 12, desk.record.last_step):
        desk.seek(step)
        text = kind().text(desk.scene, width)
        assert text.strip()
        assert max(map(len, text.splitlines())) <= width


def test_the_pool_marks_what_changed(desk: Desk) -> None:
    from workbench.views.pool import PoolMap

    desk.seek(12)
    pool = PoolMap(desk.moment, None)
    marked = {block for block, state in enumerate(pool.states(0, len(pool))) if state & CHANGED}
    assert marked == desk.moment.changes.blocks


# -- what is typed -------------------------------------------------------------------------------------


def test_an_event_filter_reads_as_it_is_written() -> None:
    wanted = parse_filter("token evicted request=3.1 step=4-9 some text")
    assert wanted == EventFilter(frozenset({"token", "evicted"}), "3.1", "some text", (4, 9))
    assert parse_filter(written(wanted)) == wanted
    assert parse_filter("") == EventFilter()
    with pytest.raises(FilterError, match="did you mean request="):
        parse_filter("requets=3")
    with pytest.raises(FilterError, match="step=12"):
        parse_filter("step=late")


DEFAULTS = {field.name: field.default for field in FIELDS}


def test_a_prompt_with_its_settings_becomes_a_request() -> None:
    values = DEFAULTS | {"temperature": "0.7", "seed": "5", "stop": "a\\n|b", "n": "3"}
    request = read_request("hi", False, values)
    assert (request.prompt, request.n) == ("hi", 3)
    assert (request.params.temperature, request.params.seed, request.params.stop) == (0.7, 5, ("a\n", "b"))
    chat = read_request("hi", True, DEFAULTS)
    assert (chat.prompt, chat.messages) == (None, ({"role": "user", "content": "hi"},))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [("top_p", "2", "top_p is 2.0"), ("n", "0", "n is 0"), ("top_k", "x", "top_k is 'x': it must be a whole")],
)
def test_a_bad_setting_is_named(name: str, value: str, problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        read_request("hi", False, DEFAULTS | {name: value})


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(OptionError, match="empty"):
        read_request("", False, DEFAULTS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("theme = 3", "theme"),
        ("colour = 'x'", "colour"),
        ("[keys]\nstp = 'n'", "there is no action 'stp'; did you mean step?"),
        ("[keys]\nrun = 'n'", "'n' is the key of both step and run"),
        ("[keys]\nrun = 'f'", "'f' is the key of both run and x.y"),
        ("theme = 'nrd'", "did you mean nord?"),
        ("[keys", "Expected"),
    ],
)
def test_a_bad_settings_file_is_told_by_name(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "workbench.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as error:
        read_settings(path, {"step": ("n",), "run": ("c",), "x.y": ("f",), "z.y": ("f",)}, ["nord"])
    assert problem in str(error.value)
    assert str(path) in str(error.value)


def test_settings_become_a_key_map(tmp_path: Path) -> None:
    path = tmp_path / "workbench.toml"
    path.write_text('glyphs = "ascii"\n[keys]\nback = ["<", ","]\n')
    settings = read_settings(path, {"back": ("[",)}, [])
    assert settings.keymap == {"back": "less_than_sign,comma"}
    assert read_settings(tmp_path / "none.toml", {}, []).keymap == {}


# -- inspections ---------------------------------------------------------------------------------------


def test_an_inspection_is_asked_for_once_and_kept() -> None:
    sent: list[pr.Inspect] = []
    inspections = Inspections(lambda command: sent.append(command) or len(sent), lambda: None)
    look = Look("1", 7)
    assert inspections.get(look).state == "absent"
    assert inspections.ask(look).state == "asked"
    assert inspections.ask(look).state == "asked"
    assert len(sent) == 1
    assert not inspections.answered(pr.Reply(id=99))
    assert inspections.answered(pr.Reply(id=1, error="gone"))
    assert inspections.get(look).why == "gone"


def test_without_an_engine_an_inspection_says_why_not() -> None:
    inspections = Inspections(lambda _command: 0, lambda: "this is a recorded session")
    assert inspections.ask(Look("1", 7)).why == "this is a recorded session"


# -- views ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", VIEWS, ids=lambda spec: spec.title)
def test_a_tab_says_what_its_view_says(spec: ViewSpec) -> None:
    view = spec.load_view()
    assert (view.number, view.view_name, view.title, view.question) == (
        spec.number, spec.name, spec.title, spec.question,
    )  # fmt: skip


def test_no_keys_clash_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "workbench.toml"
    path.write_text("")
    assert read_settings(path, default_keys(), []).keys == {}
