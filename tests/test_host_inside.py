"""A host that stands inside a forward pass: what it answers there, what waits, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from engine import events as ev
from engine import protocol as pr
from engine.engine import Engine
from engine.execution import DetailsOf
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.load import limits_of
from engine.params import EngineOptions
from tests.bundled import decoder
from tests.test_host import Served, paused, text


class Inside(Served):
    """A host on the bundled model, that keeps what is committed."""

    def __init__(self, workload: Sequence[pr.RequestText]) -> None:
        self.committed: list[ev.Event] = []
        super().__init__(workload)
        assert paused(self).step == 0

    def make_engine(self) -> Engine:
        options = EngineOptions(dtype="float32", block_size=4)
        pool = KVPool(decoder().config, 32, 4)
        return Engine(TorchExecutor(decoder(), pool, 0), limits_of(decoder().config), 32, options, self)

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:
        super().commit(events, details)
        self.committed += events

    def ask(self, command: pr.Command) -> pr.StageReport:
        self.send(command)
        report = self.until(pr.StageReport)
        assert isinstance(report, pr.StageReport)
        return report


@pytest.fixture
def served() -> Iterator[Inside]:
    host = Inside([text("a prompt"), text("another one")])
    yield host
    host.end()


def test_a_step_is_taken_stage_by_stage(served: Inside) -> None:
    first = served.ask(pr.StepInto(id=3))
    assert (first.id, first.step, first.place) == (3, 1, "before")
    assert [part.request for part in first.parts] == ["1", "2"]
    at = served.ask(pr.ToStage(layer=1, stage="attn_out", request="2"))
    assert at.standing is not None
    assert (at.standing.layer, at.standing.stage, at.standing.request) == (1, "attn_out", "2")
    assert served.ask(pr.FinishForward()).place == "finished"
    assert isinstance(served.committed[-1], ev.StepCommitted)


def test_going_on_past_the_last_stage_commits_the_step(served: Inside) -> None:
    served.ask(pr.StepInto())
    assert served.ask(pr.NextStage(count=999)).over
    assert served.engine.state.step == 1


@pytest.mark.parametrize(("command", "steps"), [(pr.Step(), 1), (pr.Step(count=3), 3), (pr.Run(), 5)])
def test_step_and_run_go_on_from_there(served: Inside, command: pr.Command, steps: int) -> None:
    served.ask(pr.StepInto())
    served.ask(pr.NextLayer())
    served.send(command)
    assert paused(served).step == steps
    assert served.engine.begun is None


def test_a_pause_says_that_it_stands_inside(served: Inside) -> None:
    served.ask(pr.StepInto())
    served.send(pr.Pause())
    assert paused(served).inside
    assert served.engine.begun is not None


def test_rows_are_looked_at_while_the_pass_is_halted(served: Inside) -> None:
    served.ask(pr.StepInto())
    served.ask(pr.NextLayer())
    served.send(pr.Inspect(request="1", position=3))
    assert isinstance(served.until(pr.Inspection), pr.Inspection)


def test_other_commands_wait_until_the_pass_is_over(served: Inside) -> None:
    served.ask(pr.StepInto())
    served.send(pr.Submit(request=text("late"), id=8))
    served.send(pr.Abort(request="2", id=9))
    served.ask(pr.NextLayer())
    assert set(served.engine.state.requests) == {"1", "2"}
    served.ask(pr.FinishForward())
    submitted, aborted = served.until(pr.Reply), served.until(pr.Reply)
    assert submitted == pr.Reply(id=8, requests=("3",))
    assert aborted == pr.Reply(id=9)
    assert set(served.engine.state.requests) == {"1", "3"}


def test_an_abandoned_step_is_recorded_and_its_requests_wait(served: Inside) -> None:
    served.ask(pr.StepInto())
    served.ask(pr.NextLayer())
    assert served.ask(pr.Abandon()).place == "abandoned"
    assert isinstance(served.committed[-1], ev.StepFailed)
    assert served.committed[-1].error == "abandoned"
    served.send(pr.Run())
    assert paused(served).why == "idle"
    assert served.engine.state.totals.finished == 2


@pytest.mark.parametrize("polite", [True, False])
def test_closing_inside_records_the_step_as_abandoned(polite: bool) -> None:
    served = Inside([text("a prompt")])
    served.ask(pr.StepInto())
    served.ask(pr.NextLayer())
    if polite:
        served.send(pr.Close())
        served.until(pr.Closed)
    served.end()
    assert [event.error for event in served.committed if isinstance(event, ev.StepFailed)] == ["abandoned"]
    assert (served.code, served.closed) == (0, 1)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (pr.NextStage(), "no step is under way"),
        (pr.Abandon(), "no step is under way"),
        (pr.LookStage(), "no step is under way"),
    ],
)
def test_refusals(served: Inside, command: pr.Command, says: str) -> None:
    served.send(command)
    reply = served.until(pr.Reply)
    assert isinstance(reply, pr.Reply)
    assert says in (reply.error or "")


@pytest.mark.parametrize(
    ("condition", "place", "stage"),
    [("layer(2).mlp_out.rms > 0", "at", (2, "mlp_out")), ("kv.used > 0", "before", None)],
)
def test_a_point_that_halts_inside_says_where_like_stepping_does(
    served: Inside, condition: str, place: str, stage: tuple[int, str] | None
) -> None:
    served.send(pr.Do(line=f"break if {condition}"))
    served.send(pr.Run())
    report = served.until(pr.StageReport)
    assert isinstance(report, pr.StageReport)
    assert report.place == place
    standing = report.standing
    assert (None if standing is None else (standing.layer, standing.stage)) == stage
    assert served.engine.begun is not None


def test_stepping_in_halts_a_run() -> None:
    served = Inside([text("a long run")])
    served.send(pr.Submit(request=pr.RequestText(prompt="more")))
    served.send(pr.Run())
    assert served.ask(pr.StepInto()).place == "before"
    assert served.engine.begun is not None
    served.end()
