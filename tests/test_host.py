"""The engine behind its control channel: commands, refusals, and both sides surviving the other's death."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Sequence
from queue import Queue
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine import protocol as pr
from engine.client import EngineClient
from engine.engine import Engine
from engine.execution import DetailsOf
from engine.host import Announce, Opened, serve
from engine.params import EngineOptions, SamplingParams
from engine.timeline import MemoryTimeline
from engine.workload import Feeder, WorkloadError, check_workload, parse_workload
from tests.scripted import ScriptedExecutor, scripted_engine


def encode(request: pr.RequestText) -> list[int]:
    return [ord(character) % 50 for character in request.prompt or ""]


def encode_text(text: str) -> list[int]:
    return [ord(character) % 50 for character in text]


class Served:
    """A host on a thread, with pipes in between."""

    def __init__(self, workload: Sequence[pr.RequestText] = ()) -> None:
        self.timeline = MemoryTimeline(32, EngineOptions(block_size=4))
        self.engine = self.make_engine()
        self.closed = 0
        self.disk_full = False
        self.code: int | None = None
        self._commands_out, self.commands = _pipe()
        self.answers, answers_in = _pipe()
        self._thread = threading.Thread(target=self._serve, args=(answers_in,))
        self._thread.start()
        self.send(pr.Open(model="m", session="s.wbs", options=EngineOptions(), workload=tuple(workload)))

    def make_engine(self) -> Engine:
        return scripted_engine(32, self, timeline=self.timeline, block_size=4)

    def _serve(self, answers: BinaryIO) -> None:
        self.code = serve(self._open, self._commands_out, answers)
        answers.close()

    def _open(self, command: pr.Open, announce: Announce) -> Opened:
        if command.model == "broken":
            raise ValueError("broken: has no\nconfig.json")
        announce(pr.Loading(doing="weights"))
        feeder = Feeder(command.workload, encode)
        return Opened(self.engine, encode, encode_text, feeder, "s.wbs", self._flush)

    def _flush(self) -> None:
        if self.disk_full:
            raise RuntimeError("the disk is full")

    def record(self, events: Sequence[ev.Event]) -> None:
        self.timeline.record(events)

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:
        self.timeline.commit(events, details)

    def close(self) -> None:
        self.closed += 1
        self._flush()

    def fail_at(self, steps: Sequence[int], error: BaseException) -> None:
        """Let these steps raise `error`."""
        executor = self.engine._executor
        assert isinstance(executor, ScriptedExecutor)

        def fault() -> None:
            if self.engine.state.step in steps:
                raise error

        executor.fault = fault

    def send(self, command: pr.Command) -> None:
        pr.send(self.commands, command)

    def until(self, kind: type[pr.Message]) -> pr.Message:
        while not isinstance(answer := pr.receive_answer(self.answers), kind):
            assert answer is not None, f"the host went away before it said {kind.__name__}"
        return answer

    def end(self) -> None:
        self.commands.close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._commands_out.close()
        self.answers.close()


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    read, write = os.pipe()
    return os.fdopen(read, "rb"), os.fdopen(write, "wb")


def paused(served: Served) -> pr.Progress:
    answer = served.until(pr.Progress)
    assert isinstance(answer, pr.Progress)
    return paused(served) if answer.running else answer


def text(prompt: str, **fields: int) -> pr.RequestText:
    return pr.RequestText(prompt=prompt, params=SamplingParams(max_tokens=5), **fields)


def test_stepping_running_and_closing() -> None:
    served = Served([text("hello"), text("later", arrival_step=3)])
    assert isinstance(served.until(pr.Ready), pr.Ready)
    assert paused(served).step == 0
    served.send(pr.Step(count=2, id=7))
    assert paused(served).why == "stepped"
    assert served.engine.state.step == 2
    served.send(pr.Run())
    assert paused(served).why == "idle"
    assert served.engine.state.totals.finished == 2
    served.send(pr.Close())
    assert served.until(pr.Closed) == pr.Closed(session="s.wbs")
    served.end()
    assert (served.code, served.closed) == (0, 1)


def test_rewinding_brings_requests_of_the_workload_again() -> None:
    """What arrived after the step that the engine went back to is still to come in the new branch."""
    served = Served([text("hello"), text("later", arrival_step=3), text("last", arrival_step=4)])
    served.send(pr.Run())
    while paused(served).why != "idle":
        pass
    finished = served.engine.state.totals.finished
    served.send(pr.Rewind(step=3))
    rewound = served.until(pr.Rewound)
    assert rewound == pr.Rewound(
        branch=1, step=3, recomputed_tokens=0, replayed_steps=0, replayed_from=0, done=True
    )  # fmt: skip
    assert set(served.engine.state.requests) == {"1", "2"}
    served.send(pr.Run())
    assert paused(served).why == "idle"
    assert served.engine.state.totals.finished == finished == 3
    served.end()


def test_a_fork_runs_beside_its_parent() -> None:
    served = Served([text("hello")])
    served.send(pr.Step(count=2))
    while paused(served).why != "stepped":
        pass
    served.send(pr.Fork(fork=pr.ForkText("1", 6, text="b"), id=9))
    reply = served.until(pr.Reply)
    while reply.id != 9:
        reply = served.until(pr.Reply)
    assert reply.requests == ("2",)
    served.send(pr.SetPolicy(policy="lpm"))
    served.send(pr.Run())
    assert paused(served).why == "idle"
    assert served.engine.state.policy == "lpm"
    assert served.engine.tokens.tokens_of("2")[6] == ord("b") % 50
    served.end()


def test_the_end_of_the_channel_closes_the_session() -> None:
    """A client that dies in the middle of a run leaves no orphan."""
    served = Served([text("x" * 9)])
    served.until(pr.Ready)
    served.send(pr.Run())
    served.end()
    assert (served.code, served.closed) == (0, 1)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (pr.Abort(request="9"), "request 9 is not live: there is nothing to abort"),
        (pr.Submit(request=pr.RequestText(prompt="")), "prompt is '': it must have at least one token"),
        (pr.Inspect(request="9", position=0), "there is no request 9"),
        (pr.Preempt(request="9"), "request 9 is not running: only a running one can be preempted"),
        (pr.Evict(block=3), "block 3 is free: only a cached block can be evicted"),
        (pr.Fork(fork=pr.ForkText("9", 3, text="ab")), "'ab' is 2 tokens: give text that is one, or a token id"),
        (pr.Rewind(step=4, dry=True), "there is no step 4 in branch 0"),
        (pr.Step(count=0), "count is 0: it must be at least 1"),
        (pr.Open(model="", session="", options=EngineOptions()), "Open is not possible now"),
    ],
)
def test_a_command_that_cannot_be_obeyed_is_refused_in_one_line(command: pr.Command, error: str) -> None:
    served = Served()
    served.until(pr.Ready)
    served.send(command)
    answer = served.until(pr.Reply)
    assert isinstance(answer, pr.Reply)
    assert answer.error == error
    served.end()


def test_a_submission_while_running_gets_its_id() -> None:
    served = Served([text("hello")])
    served.until(pr.Ready)
    served.send(pr.Submit(request=text("more", n=2), id=3))
    assert served.until(pr.Reply) == pr.Reply(id=3, requests=("2.0", "2.1"))
    served.end()


def test_steps_and_a_pause_end_a_run() -> None:
    served = Served([text("hello") for _ in range(40)])
    served.until(pr.Ready)
    served.send(pr.Run())
    served.send(pr.Step(count=3))
    answer = paused(served)
    while answer.why == "paused":  # the first report, from before the run
        answer = paused(served)
    assert answer.why == "stepped"
    served.send(pr.Run())
    served.send(pr.Pause(id=9))
    while (reply := served.until(pr.Reply)) != pr.Reply(id=9):
        assert isinstance(reply, pr.Reply)
    served.end()


def test_what_is_yet_to_arrive_outlives_a_failed_request() -> None:
    """The first request ends in error, and the run that goes on takes the next."""
    served = Served([text("hello"), text("later", arrival_step=100)])
    served.fail_at([1, 2], RuntimeError("out of\nmemory"))
    served.until(pr.Ready)
    assert paused(served).why == "paused"
    for step in (1, 2):
        served.send(pr.Run())
        failed = paused(served)
        assert (failed.step, failed.why, failed.error) == (step, "failed", f"step {step} failed: out of memory")
    served.send(pr.Run())
    assert paused(served).why == "idle"
    assert not served.engine.busy
    assert served.engine.state.totals.output_tokens == 5
    served.end()


def test_a_full_disk_refuses_commands_and_leaves_the_engine_alive() -> None:
    served = Served()
    served.until(pr.Ready)
    served.disk_full = True
    served.send(pr.Submit(request=text("hello"), id=1))
    assert served.until(pr.Reply) == pr.Reply(id=1, error="the disk is full")
    served.disk_full = False
    served.send(pr.Run())
    assert paused(served).why == "idle"
    served.end()


def test_a_session_that_cannot_be_closed_is_said_so() -> None:
    served = Served()
    served.until(pr.Ready)
    served.disk_full = True
    served.send(pr.Close())
    assert served.until(pr.Fatal) == pr.Fatal(error="the disk is full", usage=False)
    served.end()
    assert (served.code, served.closed) == (1, 1)


def test_a_defect_of_the_engine_ends_it_with_a_line_and_closes_the_session() -> None:
    served = Served([text("hello")])
    served.until(pr.Ready)
    served.engine.scheduler.plan = lambda state, drafts: 1 // 0  # type: ignore[method-assign,assignment,return-value]
    served.send(pr.Run())
    fatal = served.until(pr.Fatal)
    assert fatal == pr.Fatal(error="integer division or modulo by zero", usage=False)
    served.end()
    assert (served.code, served.closed) == (1, 1)


def test_speed_is_counted_from_when_the_run_began() -> None:
    """Not from the last report, a pause for thought ago."""
    served = Served([text("hello")])
    served.until(pr.Ready)
    assert paused(served).step == 0
    time.sleep(0.3)
    served.send(pr.Run())
    assert paused(served).tokens_per_s > 5 / 0.25
    served.end()


def test_a_model_that_cannot_be_loaded_is_fatal_in_one_line() -> None:
    served = Served()
    broken = pr.Open(model="broken", session="", options=EngineOptions(), id=4)
    stream = io.BytesIO()
    pr.send(stream, broken)
    answers = io.BytesIO()
    assert serve(served._open, io.BytesIO(stream.getvalue()), answers) == 2
    fatal = pr.receive_answer(io.BytesIO(answers.getvalue()))
    assert fatal == pr.Fatal(id=4, error="broken: has no config.json", usage=True)
    served.end()


@given(st.binary(max_size=60))
def test_nonsense_on_the_channel_ends_it_and_nothing_worse(data: bytes) -> None:
    assert serve(_never, io.BytesIO(data), io.BytesIO()) == 0


def _never(command: pr.Open, announce: Announce) -> Opened:
    raise AssertionError("nothing was opened")


def test_a_killed_engine_is_noticed_and_a_later_command_refused() -> None:
    exits: Queue[int] = Queue()
    client = EngineClient([sys.executable, "-c", "import time; time.sleep(60)"], print, exits.put)
    os.kill(client.pid, 9)
    assert exits.get(timeout=10) == -9
    with pytest.raises(pr.ChannelError):
        client.send(pr.Run())
    assert client.close() == -9


def test_a_process_that_talks_nonsense_is_ended() -> None:
    """Otherwise it would go on, unheard, until its pipe is full."""
    exits: Queue[int] = Queue()
    nonsense = "import sys, time; sys.stdout.write('loading ' * 9); sys.stdout.flush(); time.sleep(60)"
    client = EngineClient([sys.executable, "-c", nonsense], print, exits.put)
    assert exits.get(timeout=10) == -9
    client.close()


def test_the_end_is_told_even_if_an_answer_could_not_be_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    exits: Queue[int] = Queue()
    answer = io.BytesIO()
    pr.send(answer, pr.Loading(doing="weights"))
    talk = f"import sys; sys.stdout.buffer.write({answer.getvalue()!r})"

    def refuse(_: pr.Answer) -> None:
        raise RuntimeError("the screen is gone")

    client = EngineClient([sys.executable, "-c", talk], refuse, exits.put)
    assert exits.get(timeout=10) in (0, -9)
    client.close()


# -- workloads -------------------------------------------------------------------------------------------


def test_a_workload_line_takes_the_command_lines_settings_where_it_says_nothing() -> None:
    lines = ['{"prompt": "a", "top_p": 0.5, "stop": "x", "n": 2}', "", '{"prompt_ids": [1], "arrival_step": 4}']
    first, second = parse_workload(lines, SamplingParams(temperature=0.5))
    assert first.params == SamplingParams(temperature=0.5, top_p=0.5, stop=("x",))
    assert (first.n, first.line, second.arrival_step, second.line) == (2, 1, 4, 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: "),
        ('{"prompt": "a", "tempreature": 1}', "line 2: Object contains unknown field `tempreature`"),
        ('{"prompt": "a", "prompt_ids": [1]}', "line 2: give exactly one of prompt, messages and prompt_ids"),
        ('{"max_tokens": 3}', "line 2: give exactly one of prompt, messages and prompt_ids, not none"),
        ('{"prompt": "a", "top_p": 7}', "line 2: top_p is 7"),
        ('{"prompt": "a", "arrival_step": -1}', "line 2: arrival_step is -1"),
        (b"\xff\xfe", "line 2: "),
    ],
)
def test_a_bad_workload_line_is_named(line: str | bytes, message: str) -> None:
    with pytest.raises(WorkloadError) as raised:
        parse_workload(['{"prompt": "fine"}', line], SamplingParams())
    assert str(raised.value).startswith(message)


def test_a_prompt_that_can_never_run_is_named_by_its_line() -> None:
    engine: Engine = scripted_engine(2, block_size=4)
    requests = parse_workload(['{"prompt": "fits"}', '{"prompt": "does not fit here"}'], SamplingParams())
    with pytest.raises(WorkloadError, match="line 2: the prompt needs 5 KV blocks of 4 tokens; the pool has 2"):
        check_workload(requests, engine, encode)


def test_an_empty_workload_is_refused() -> None:
    with pytest.raises(WorkloadError, match="it has no requests"):
        parse_workload(["", "  "], SamplingParams())


def test_requests_that_arrive_together_stay_together_when_they_come_early() -> None:
    """An idle engine does not wait for their step; and does not take them one by one either."""
    engine = scripted_engine(64, block_size=4)
    feeder = Feeder(
        [text("a"), *(text(name, arrival_step=100) for name in "bc"), text("d", arrival_step=101)], encode
    )
    feeder.feed(engine)
    assert list(engine.state.requests) == ["1"]
    engine.run()
    feeder.feed(engine)
    assert list(engine.state.requests) == ["2", "3"]
    assert not feeder.empty
