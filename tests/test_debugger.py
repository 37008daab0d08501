"""Points stop a run where they say, count as gdb's do, and change nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import FrameType

import pytest

from engine import events as ev
from engine.debug.changing import Means
from engine.debug.checker import Known
from engine.debug.console import AssertionFailedError, Console, Going
from engine.debug.debugger import Debugger
from engine.debug.errors import DebugError
from engine.debug.said import Shown, Stop, sentence
from engine.engine import Engine, StepFailedError
from engine.params import RequestSpec, SamplingParams
from engine.stage_walk import StageWalk
from engine.timeline import MemoryTimeline
from tests.bundled import bundled_engine, decoder, greedy, run_all
from tests.scripted import ScriptedExecutor, scripted_engine, spec


def text_of(token: int) -> str:
    return f"<{token}>"


def known_of(engine: Engine) -> Known:
    blocks = engine.state.blocks.num_blocks
    return Known(engine.limits.layers, blocks, engine.limits.vocab_size, lambda text: [len(text)])


class Shell:
    """A console on an engine, told lines; `run` goes on to a stop, or to the end."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.debugger = Debugger(engine, text_of, known_of(engine))
        means = Means(lambda request: [len(request.prompt or "")], lambda text: [len(text)])
        self.console = Console(self.debugger, means)

    def say(self, *lines: str) -> Shown:
        answer: Shown | Going = Shown()
        for line in lines:
            answer = self.console.line(line)
        assert isinstance(answer, Shown)
        return answer

    def go(self, line: str = "continue") -> Stop | None:
        going = self.console.line(line)
        assert isinstance(going, Going)
        steps = going.steps
        while steps > 0:
            step = self.debugger.step()
            if self.debugger.stop is not None:
                self.console.stopped(self.debugger.stop)
                return self.debugger.stop
            if step is None:
                return None
            steps -= 1
        return None

    def stop(self, line: str = "continue") -> Stop:
        found = self.go(line)
        assert found is not None, "the run went on to its end"
        return found


def scripted(num_blocks: int = 32, **options: object) -> Shell:
    return Shell(scripted_engine(num_blocks, block_size=4, token_budget=12, **options))


def two_requests() -> Shell:
    shell = scripted()
    shell.engine.submit(spec(range(10), 8))
    shell.engine.submit(spec([*range(8), 40, 41, 42], 8))
    return shell


@pytest.fixture(scope="module")
def model() -> Shell:
    """The bundled model in the middle of a run; no test goes on with it but to look."""
    return Shell(bundled_engine(32))


def model_run(prompts: Sequence[int] = (6, 20, 9)) -> Shell:
    shell = Shell(bundled_engine(32, token_budget=16))
    for index, size in enumerate(prompts):
        shell.engine.submit(greedy([(7 * index + 13 * i) % 900 + 20 for i in range(size)], 6))
    return shell


# -- where a run stops --------------------------------------------------------------------------------


def test_a_condition_on_queues_stops_between_plan_and_execute() -> None:
    shell = two_requests()
    shell.say("break if queue.running == 2")
    stop = shell.stop()
    assert (stop.when, stop.step, stop.point) == ("planned", 1, 1)
    assert shell.engine.begun is not None
    assert shell.engine.begun.forward is None
    assert (
        sentence(stop)
        == "breakpoint 1, step 1 is planned and not computed: queue.running == 2  (queue.running 2)"
    )


def test_a_condition_on_a_token_stops_after_commit_at_that_token() -> None:
    shell = two_requests()
    shell.say("break if pos == 13 and req == 2")
    stop = shell.stop()
    assert (stop.when, stop.request, stop.position) == ("committed", "2", 13)
    assert shell.engine.begun is None
    assert len(shell.engine.tokens.tokens_of("2")) == 14
    assert [(value.name, value.value) for value in stop.values] == [("pos", 13), ("req", "2")]


def test_a_condition_on_a_stage_stops_inside_the_forward_pass_and_leaves_it_there() -> None:
    shell = model_run()
    shell.say("break if layer(1).resid.rms > 0 and req == 2")
    stop = shell.stop()
    assert (stop.when, stop.layer, stop.stage, stop.request) == ("inside", 1, "resid_post", "2")
    begun = shell.engine.begun
    assert begun is not None
    assert begun.forward is not None
    at = begun.forward.at  # type: ignore[attr-defined]
    rows = at.tensor[begun.forward.rows("2", "resid_post")]
    assert stop.values[0].value == pytest.approx(rows.double().square().mean().sqrt().item(), rel=1e-12)


def test_a_stage_of_a_later_layer_is_waited_for() -> None:
    """An expression over two stages is judged at the last of them, each with its value of that pass."""
    shell = model_run()
    shell.say("break if layer(2).q.rms > 0 and layer(0).resid.norm > 0")
    stop = shell.stop()
    assert (stop.layer, stop.stage) == (2, "q")
    assert len(stop.values) == 2


def test_a_place_stops_there_if_its_condition_holds() -> None:
    shell = model_run()
    shell.say("tbreak at layer(1).attn_out if step == 2")
    stop = shell.stop()
    assert (stop.step, stop.layer, stop.stage, stop.temporary) == (2, 1, "attn_out", True)
    assert shell.say("info breakpoints").lines == ("no points are set: break, watch and catch set one",)
    assert shell.stop("until logits").stage == "logits"
    with pytest.raises(DebugError, match="the token is not chosen yet at a stage"):
        shell.say("break at layer(1).attn_out if entropy > 3")


def test_a_stage_statistic_and_a_token_are_judged_together_after_commit() -> None:
    shell = model_run()
    shell.say("break if layer(1).resid.rms > 0 and entropy >= 0 and req == 1")
    stop = shell.stop()
    assert (stop.when, stop.request) == ("committed", "1")
    assert {value.name for value in stop.values} == {"layer(1).resid.rms", "entropy", "req"}


def test_stepping_into_goes_from_stage_to_stage() -> None:
    shell = model_run()
    assert shell.say("step").lines == ("inside step 1 at embed",)
    assert shell.say("step 3").lines == ("inside step 1 at layer(0).k",)
    shell.go("finish")
    assert shell.engine.begun is None
    assert shell.engine.state.step == 1


def test_x_shows_what_the_stage_holds() -> None:
    shell = model_run()
    stop = shell.stop("until layer(1).attn_out")
    forward = shell.engine.begun.forward  # type: ignore[union-attr]
    assert (stop.why, stop.layer, stop.stage) == ("until", 1, "attn_out")
    expected = forward.at.tensor[forward.rows("1", "attn_out")][-1].flatten()  # type: ignore[union-attr]
    lines = shell.say("x/10e layer(1).attn_out[req 1]").lines
    assert lines[0] == "layer(1).attn_out[req 1 row 5], values 0 to 9"
    assert len(lines) == 3
    shown = [float(cell) for line in lines[1:] for cell in line.split(":")[1].split()]
    assert shown == pytest.approx(expected[:10].tolist(), rel=1e-6)
    for line, error in [
        (
            "x layer(0).q",
            "the pass stands at layer(1).attn_out: stop at layer(0).q first, with `until layer(0).q`",
        ),
        ("x layer(1).attn_out[req 9]", "request 9 is not in this pass"),
        (
            "x layer(1).attn_out[req 1 row 6]",
            "request 1 has 6 rows at layer(1).attn_out, 0 to 5: there is no row 6",
        ),
    ]:
        with pytest.raises(DebugError) as refused:
            shell.say(line)
        assert str(refused.value) == error


def test_walking_through_stages_is_halted_by_points_too() -> None:
    shell = model_run()
    walk = StageWalk(shell.engine, shell.debugger)
    shell.say("break at layer(1).gate", "catch finish", "tbreak if step == 2 and pos > 0")
    walk.into()
    walk.to(3, "q")
    stop = shell.debugger.stop
    assert stop is not None
    assert (stop.layer, stop.stage, stop.when) == (1, "gate", "inside")
    assert shell.debugger.standing == "inside step 1 at layer(1).gate"
    walk.next_layer()
    assert shell.debugger.standing == "inside step 1 at layer(2).attn_norm"
    walk.finish()
    assert shell.engine.state.step == 1
    walk.into()
    walk.finish()
    assert shell.debugger.stop is not None
    assert (shell.debugger.stop.when, shell.debugger.stop.step) == ("committed", 2)


# -- watching and catching ----------------------------------------------------------------------------


def test_a_watchpoint_says_old_and_new_at_the_moment_of_the_change() -> None:
    shell = two_requests()
    shell.say("watch kv.used")
    first = shell.stop()
    assert (first.when, first.old, first.new) == ("planned", "0", "6")
    found = [first, *iter(shell.go, None)]
    assert [stop.new for stop in found[:-1]] == [stop.old for stop in found[1:]]
    assert (found[-1].when, found[-1].new) == ("committed", "0")


def test_a_watched_value_of_a_token_is_compared_with_the_same_requests_token_before() -> None:
    shell = two_requests()
    shell.say("watch token req 1")
    found = list(iter(shell.go, None))
    tokens = shell.engine.tokens.tokens_of("1")[10:]
    expected = [(str(a), str(b)) for a, b in pairwise(tokens) if a != b]
    assert [(stop.old, stop.new) for stop in found] == expected


def test_catching() -> None:
    shell = scripted(6)
    for start in (0, 20):
        shell.engine.submit(spec(range(start, start + 9), 8))
    shell.say("catch preempt", "catch finish req 2", "catch miss", "catch evict")
    found = list(iter(shell.go, None))
    kinds = {stop.point: stop for stop in found}
    assert kinds[1].when == "planned"
    assert kinds[1].happened[0].startswith("request 2 is preempted")
    assert (kinds[2].request, kinds[2].when) == ("2", "committed")
    assert kinds[3].step == 1
    assert len(kinds) >= 3


def test_a_refused_request_is_caught_though_no_step_follows() -> None:
    shell = scripted(4)
    shell.say("catch reject")
    shell.engine.submit(spec(range(40), 4))
    stop = shell.stop()
    assert stop.request == "1"
    assert "does not fit" in stop.happened[0] or "needs 10" in stop.happened[0]


def test_a_failed_step_is_caught_and_still_raised() -> None:
    shell = two_requests()
    executor = shell.engine._executor
    assert isinstance(executor, ScriptedExecutor)

    def fault() -> None:
        if shell.engine.state.step == 2:
            raise MemoryError("no room")

    executor.fault = fault
    shell.say("catch error")
    with pytest.raises(StepFailedError, match="no room"):
        shell.go()
    stop = shell.debugger.stop
    assert stop is not None
    assert (stop.when, stop.step) == ("failed", 2)
    assert "no room" in stop.happened[0]
    executor.fault = lambda: None
    assert shell.go() is None


def test_a_nan_is_caught_at_the_first_stage_that_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = model_run()
    layer = decoder().layers[2]
    shell.engine.step()
    shell.say("catch nan")
    monkeypatch.setattr(layer.mlp_norm, "weight", layer.mlp_norm.weight * float("nan"))
    stop = shell.stop()
    assert (stop.when, stop.layer, stop.stage) == ("inside", 2, "mlp_norm")
    assert shell.say("print layer(2).mlp_norm.nan > 0").lines == ("layer(2).mlp_norm.nan > 0 = true",)
    shell.say("abandon")
    assert shell.engine.begun is None


# -- counting -----------------------------------------------------------------------------------------


def test_points_count_hits_and_let_some_pass() -> None:
    shell = two_requests()
    shell.say("break if req == 1 and pos >= 10", "ignore 1 3")
    assert shell.stop().position == 13
    assert shell.debugger.points[1].hits == 4
    assert shell.say("info breakpoints").lines == (
        "1   breakpoint if req == 1 and pos >= 10", "    hit 4 times",
    )  # fmt: skip
    shell.say("disable 1")
    assert not shell.debugger.armed
    assert shell.go("next 2") is None
    shell.say("enable", "tbreak if req == 1 and pos > 0")
    stop = shell.stop()
    assert (stop.point, stop.also) == (1, (2,))
    shell.say("delete 1")
    assert shell.go() is None
    with pytest.raises(DebugError, match="there is no point 1: there are none"):
        shell.say("ignore 1 1")


def test_a_break_without_a_condition_stops_at_every_plan_and_a_state_once_a_step() -> None:
    shell = two_requests()
    shell.say("break", "break if kv.used > 0")
    found = list(iter(shell.go, None))
    assert [stop.step for stop in found] == list(range(1, shell.engine.state.step + 1))
    assert all(stop.also == (2,) for stop in found)


def test_until_advance_and_finish() -> None:
    shell = two_requests()
    stop = shell.stop("until 3")
    assert (stop.why, stop.when, stop.step) == ("until", "committed", 3)
    with pytest.raises(DebugError, match="step 3 is not ahead: the engine stands at step 3"):
        shell.go("until 3")
    shell.say("select 2")
    stop = shell.stop("advance")
    assert (stop.why, stop.request, stop.step) == ("advance", "2", 4)
    assert shell.stop("advance 15").position == 15
    assert shell.stop("until queue.running == 1").why == "until"
    shell.say("select 2")
    stop = shell.stop("finish")
    assert (stop.why, stop.request) == ("finish", "2")
    with pytest.raises(DebugError, match="request 2 is not live"):
        shell.go("finish")


def test_a_point_that_stops_first_ends_until() -> None:
    shell = two_requests()
    shell.say("tbreak if step == 2")
    assert shell.stop("until 4").why == "break"
    assert shell.go() is None


def test_commands_are_kept_and_checked() -> None:
    shell = two_requests()
    shell.say("break if pos == 12", "commands : print token ; continue")
    assert shell.debugger.points[1].commands == ("print token", "continue")
    for line in ("commands 1: print pos", "commands:print pos", "comm 1 :print pos"):
        shell.say(line)
        assert shell.debugger.points[1].commands == ("print pos",)
    for line, error in [("commands 1: goto 3", "cannot be done at a stop"), ("commands 1 : prnt", "no command")]:
        with pytest.raises(DebugError, match=error):
            shell.say(line)


def test_assertions() -> None:
    shell = two_requests()
    shell.go("next")
    shell.say("assert step == 1", "select 1")
    with pytest.raises(AssertionFailedError) as failed:
        shell.say("assert pos > 10 and step == 1")
    assert str(failed.value) == (
        "assertion failed, step 1, request 1 position 10: pos > 10 and step == 1  (pos 10, step 1)"
    )


def test_a_condition_that_cannot_be_judged_stops_the_run_and_says_why() -> None:
    """Beyond the twenty likeliest, penalties hide the final probability: stopping is better than missing it."""
    shell = Shell(bundled_engine(32))
    penalised = SamplingParams(max_tokens=4, repetition_penalty=1.3)
    shell.engine.submit(RequestSpec(tuple(range(20, 30)), penalised))
    shell.say("break if prob(7) > 0.9", "break if logit(7) > 1e9")
    stop = shell.stop()
    assert stop.point == 1
    assert stop.happened[0].startswith("cannot be judged: the final probability of token 7")


def test_a_point_at_a_stage_needs_an_engine_that_has_stages() -> None:
    shell = two_requests()
    with pytest.raises(DebugError, match="column 16: there is no layer 0: the model has 0"):
        shell.say("break if layer(0).q.rms > 3")


# -- changing nothing ---------------------------------------------------------------------------------

NOSY = (
    "break if kv.free < 0 or entropy > 100", "break if layer(3).mlp_out.norm < 0", "catch nan", "catch preempt",
    "watch request(1).state", "break if rank(5) == 0 and prob(5) > 2 and logit(5) > 1e9", "break if any_nan",
)  # fmt: skip


def test_no_point_changes_the_run() -> None:
    """The same tokens and hashes of logits, whether stages are watched, halted at, or not."""
    prompts = [
        greedy([(7 * index + 13 * i) % 900 + 20 for i in range(size)], 8) for index, size in enumerate((6, 40, 9))
    ]
    bare = run_all(bundled_engine(24, token_budget=16), prompts)
    shell = Shell(bundled_engine(24, token_budget=16))
    hashes = {}
    for each in prompts:
        shell.engine.submit(each)
    shell.say(*NOSY, "tbreak at layer(2).gate", "break if step == 3")
    while True:
        step = shell.debugger.step()
        if step is not None:
            hashes.update({(d.request, d.position): (d.token, d.logits_hash) for d in step.details()})
        elif shell.debugger.stop is None:
            break
    assert hashes == {key: (d.token, d.logits_hash) for key, d in bare.details.items()}


def calls_of(action: Callable[[], object]) -> list[str]:
    called: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            called.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return called


def test_without_a_point_a_step_makes_no_call_of_its_own() -> None:
    bare, debugged = two_requests(), two_requests()
    debugged.say("break if step == 3", "delete 1")
    plain = calls_of(bare.engine.step)
    assert calls_of(debugged.debugger.step) == ["Debugger.step", *plain]
    debugged.say("break if step == 30")
    assert len(calls_of(debugged.debugger.step)) > len(calls_of(bare.engine.step)) + 1


# -- changing something, on purpose -------------------------------------------------------------------


def test_commands_that_change_the_run() -> None:
    timeline = MemoryTimeline(32, scripted_engine(32, block_size=4, token_budget=12).options)
    shell = Shell(scripted_engine(32, timeline, block_size=4, token_budget=12, timeline=timeline))
    assert shell.say('submit "four" max_tokens=6').requests == ("1",)
    shell.go("next 3")
    assert shell.say("fork 1 2 token=9").lines == ("queued the fork as request 2",)
    assert shell.say('force "ab" 1 2').requests == ("3",)
    assert list(shell.engine.tokens.tokens_of("3"))[2:] == [2]
    shell.go("next")
    shell.say("preempt 2", "abort 3", "set policy lpm")
    assert shell.engine.state.policy == "lpm"
    assert shell.engine.state.requests["2"].preemptions == 1
    shell.say("watch step")
    assert shell.say("rewind 2").goto == (1, 2)
    assert shell.engine.state.step == 2
    stop = shell.stop()
    assert (stop.old, stop.new, stop.branch) == ("2", "3", 1)
    shell.go("finish")
    for line, error in [
        ("abort 9", "request 9 is not live: there is nothing to abort"),
        ("select 9", "there is no request 9"),
        ("evict block 31", "block 31"),
        ("fork 9 3", "there is no request 9"),
        ("goto 3", "this is about the record"),
    ]:
        with pytest.raises((ValueError, RuntimeError), match=error):
            shell.say(line)
    assert isinstance(next(timeline.events(1, -1, 99)), ev.Submitted)
