"""The fork box and changes by hand, on a scripted engine in its own process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input, RadioSet, TextArea

from engine.interventions import Scale
from engine.option_error import OptionError
from engine.params import SamplingParams
from engine.protocol import ForkText
from tests.screens import dialog_text, press, screen_text, settle
from tests.test_app_branches import run_steps
from tests.test_app_live import until, workbench_with_engine
from workbench.forkbox import ForkBox
from workbench.forking import Parent, Typed, read_fork, read_stages, what_happens

PARENT = Parent("3", list(range(10, 22)), 8, SamplingParams(temperature=0.5), 4, 2, lambda token: f"<{token}>")


# -- what is typed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "fork"),
    [
        (Typed("9", token="#7"), ForkText("3", 9, token=7)),
        (Typed("9", token="' raise'"), ForkText("3", 9, text=" raise")),
        (Typed("12", token="\\n"), ForkText("3", 12, text="\n")),
        (Typed("9", settings={"seed": "4"}), ForkText("3", 9, params=SamplingParams(temperature=0.5, seed=4))),
        (Typed("9", settings={"temperature": "0.5"}), ForkText("3", 9)),
        (Typed("6", prompt_end="xy"), ForkText("3", 6, prompt_end="xy")),
        (Typed("9", stages="layer 1 head 1"), ForkText("3", 9, scales=(Scale(1, "attn_out", 0.0, 1),))),
        (Typed("2", stages="layer 1 mlp × 0.5"), ForkText("3", 2, scales=(Scale(1, "mlp_out", 0.5),))),
    ],
)
def test_a_fork_is_read_as_it_is_typed(typed: Typed, fork: ForkText) -> None:
    assert read_fork(typed, PARENT) == fork


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (Typed("13"), "position is '13': request 3 can fork at 0 to 12"),
        (Typed("x"), "position is 'x'"),
        (Typed("3", token="a"), "position 3 is in the prompt, where no token is chosen"),
        (Typed("9", prompt_end="a"), "the prompt ends at position 8"),
        (Typed("8", token="a", prompt_end="b"), "not both"),
        (Typed("9", settings={"top_p": "warm"}), "top_p is 'warm': it must be a number"),
        (Typed("9", settings={"top_p": "2"}), "top_p is 2.0: it must be above 0 and at most 1"),
        (Typed("9", stages="layer 9"), "the model has 4 layers"),
        (Typed("9", stages="layer 1 head 2"), "there is no head 2: the model has 2 heads"),
        (Typed("9", stages="everything"), "'everything' is no stage to scale"),
        (Typed("9", stages="layer 1, layer 1 mlp"), "a stage is named twice"),
    ],
)
def test_what_cannot_be_forked_is_said_in_one_line(typed: Typed, said: str) -> None:
    with pytest.raises(OptionError) as error:
        read_fork(typed, PARENT)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_layer_is_its_attention_and_its_mlp() -> None:
    assert read_stages("layer 2", PARENT) == (Scale(2, "attn_proj", 0.0), Scale(2, "mlp_out", 0.0))


def test_it_says_what_will_happen() -> None:
    typed = Typed("9", token="#7", settings={"temperature": "0.8"}, stages="layer 1, layer 2 head 0 × 2")
    said = " ".join(what_happens(read_fork(typed, PARENT), PARENT))
    assert "takes the 9 tokens before position 9 from request 3" in said
    assert "Position 9 is '<7>' (#7) in place of '<19>'." in said
    assert "temperature 0.8 (was 0.5)" in said
    assert "From row 8 on: layer 1 switched off, layer 2 head 0 times 2." in said
    nothing = " ".join(what_happens(read_fork(Typed("9"), PARENT), PARENT))
    assert "does again what its parent did" in nothing


# -- on the screen -------------------------------------------------------------------------------------


async def test_a_token_is_forced_in_a_fork_that_runs_beside_its_parent(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 6)
        await press(pilot, "F")
        box = app.screen
        assert isinstance(box, ForkBox)
        box.query_one("#position", Input).value = "9"
        box.query_one("#token-text", Input).value = "#7"
        await until(pilot, lambda: "Position 9 is '<7>' (#7) in place of" in dialog_text(app))
        await press(pilot, "ctrl+d")
        await until(pilot, lambda: app.scene.record.request("4") is not None)
        await settle(pilot)
        row = app.scene.record.request("4")
        assert row is not None
        assert (row.parent, row.at_position) == ("1", 9)
        assert "request 4 forks from 1 at position 9" in screen_text(app)
        await run_steps(app, pilot, 2)
        table = [line[1:60].split()[:2] for line in screen_text(app).splitlines()[4:8]]
        assert [name.strip("▶●") or row[1] for name, *_ in table for row in [[name, *_]]] == ["1", "└4", "2", "3"]
        assert "at 9 '<7>' there" in screen_text(app)
        assert app.scene.record.token_ids("4")[9] == 7
        await press(pilot, "V")
        assert app.view is not None
        assert app.view.view_name == "compare"
        app.select(replace(app.selection, request="3", position=None))
        await press(pilot, "V")
        assert "request 3 is no fork, and has none" in screen_text(app)
        assert list(app.scene.record.token_ids("4")[:9]) == list(app.scene.record.token_ids("1")[:9])


async def test_what_the_engine_refuses_stands_in_the_box(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 4)
        await press(pilot, "F")
        app.screen.query_one("#token-text", Input).value = "two tokens"
        await press(pilot, "ctrl+d")
        await until(pilot, lambda: "'two tokens' is 10 tokens" in dialog_text(app))
        assert isinstance(app.screen, ForkBox)


async def test_the_prompts_end_is_edited_from_inside_the_prompt(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 4)
        await press(pilot, "F")
        app.screen.query_one("#what-prompt").value = True  # type: ignore[attr-defined]
        await until(pilot, lambda: app.screen.query_one("#position", Input).value == "0")
        tail = app.screen.query_one("#prompt-end", TextArea)
        await until(pilot, lambda: tail.text == app.scene.record.session.prompt_text("1"))
        tail.text = "zz"
        await press(pilot, "ctrl+d")
        await until(pilot, lambda: app.scene.record.request("4") is not None)
        row = app.scene.record.request("4")
        assert row is not None
        assert row.prompt_tokens == 2


async def test_tokens_forces_the_candidate_under_the_cursor(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 6)
        await press(pilot, "2")
        position = app.scene.record.request("1").prompt_tokens + 1  # type: ignore[union-attr]
        app.select(app.selection.__class__(request="1", position=position))
        await settle(pilot)
        app.view.query_one("#tokens-stages").focus()  # type: ignore[union-attr]
        await press(pilot, "down", "down", "F")
        token = app.view.query_one("#tokens-stages").token  # type: ignore[union-attr, attr-defined]
        assert app.screen.query_one("#position", Input).value == str(position)
        assert app.screen.query_one("#token-text", Input).value == f"#{token}"
        assert "chosen in the run" in screen_text(app)


async def test_down_goes_from_the_token_to_what_was_likely(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 6)
        app.select(app.selection.__class__(request="1", position=app.scene.record.request("1").prompt_tokens))  # type: ignore[union-attr]
        await press(pilot, "F", "down")
        box = app.screen
        typed = box.query_one("#token-text", Input)
        first = typed.value
        await press(pilot, "down")
        assert first.startswith("#")
        assert typed.value.startswith("#")
        assert typed.value != first
        assert "in place of" in dialog_text(app)


async def test_a_request_is_preempted_by_hand(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 4)
        await press(pilot, "[", "P")
        assert "this is the past" in screen_text(app)
        await press(pilot, "G", "P")
        await until(pilot, lambda: app.scene.moment.state.requests["1"].state == "PREEMPTED")
        await settle(pilot)
        assert "request 1 is preempted; it waits" in screen_text(app)
        await press(pilot, "P")
        assert "request 1 is not running" in screen_text(app)


async def test_a_block_that_a_request_holds_is_not_evicted(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 4)
        await press(pilot, "E")
        assert "no block is selected" in screen_text(app)
        block = app.scene.moment.state.requests["1"].table[0]
        app.select(app.selection.__class__(request="1", block=block))
        await press(pilot, "E", "y")
        await until(pilot, lambda: f"block {block}" in screen_text(app).splitlines()[-2])


async def test_a_cached_block_is_evicted_by_hand(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await press(pilot, "c")
        await until(pilot, lambda: app.engine.state == "paused" and app.clock.step > 10)
        await settle(pilot)
        node = next(node for node in app.scene.moment.state.tree.nodes.values() if node.blocks)
        app.select(app.selection.__class__(request="1", block=node.blocks[0]))
        await press(pilot, "E", "y")
        await until(pilot, lambda: node.id not in app.scene.moment.state.tree.nodes)
        await press(pilot, "0")
        assert "evicted from node" in screen_text(app)
        assert "by hand" in screen_text(app)


async def test_the_policy_is_changed_for_the_next_step(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await until(pilot, lambda: app.engine.state == "paused")
        app.act("policy")
        await press(pilot, *"lpm", "enter")
        await until(pilot, lambda: app.scene.moment.state.policy == "lpm")


async def test_the_box_has_a_section_for_each_thing_to_change(tmp_path: Path) -> None:
    async with workbench_with_engine(tmp_path / "run.wbs") as (app, pilot):
        await run_steps(app, pilot, 3)
        await press(pilot, "F")
        assert app.screen.query_one("#what", RadioSet).pressed_index == 0
        app.screen.query_one("#what-stages").value = True  # type: ignore[attr-defined]
        await settle(pilot)
        app.screen.query_one("#stages-text", Input).value = "layer 1 head 3"
        await until(pilot, lambda: "layer 1 head 3 switched off" in dialog_text(app))
