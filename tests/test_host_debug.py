"""Points and commands over the control channel: stops are told, runs go on, and nothing gets lost."""

from __future__ import annotations

import pytest

from engine import protocol as pr
from tests.test_host import Served, paused, text


def served(*prompts: str) -> Served:
    host = Served([text(prompt) for prompt in prompts])
    host.until(pr.Ready)
    assert paused(host).step == 0
    return host


def done(host: Served, line: str, **selected: object) -> pr.Done:
    host.send(pr.Do(line=line, id=5, **selected))  # type: ignore[arg-type]
    answer = host.until(pr.Done)
    assert isinstance(answer, pr.Done)
    assert answer.id == 5
    return answer


def stopped(host: Served) -> pr.Stopped:
    answer = host.until(pr.Stopped)
    assert isinstance(answer, pr.Stopped)
    return answer


def test_a_run_stops_at_a_point_and_goes_on_from_there() -> None:
    host = served("hello", "there")
    assert done(host, "break if pos == 7").points[0].expression == "pos == 7"
    assert done(host, "tbreak if queue.running == 2").shown.lines == (
        "2   breakpoint if queue.running == 2 once",
    )  # fmt: skip
    host.send(pr.Run())
    first = stopped(host)
    assert (first.stop.when, first.stop.step, [point.number for point in first.points]) == ("planned", 1, [1])
    report = paused(host)
    assert (report.why, report.inside, report.step) == ("stepped", True, 1)
    assert done(host, "print kv.used").shown.values[0].value == 4
    assert done(host, "continue").error is None
    second = stopped(host)
    assert second.sentence == (
        "breakpoint 1, after step 3, request 1 position 7: pos == 7  (pos 7); and 1 more at this moment"
    )
    assert not paused(host).inside
    assert done(host, "print pos", request="2", position=7).shown.lines == ("pos = 7",)
    done(host, "delete")
    host.send(pr.Run())
    assert paused(host).why == "idle"
    assert host.engine.state.totals.finished == 2
    host.end()


def test_changes_wait_while_a_step_is_under_way_and_questions_do_not() -> None:
    host = served("hello")
    done(host, "tbreak")
    host.send(pr.Run())
    stopped(host)
    host.send(pr.Do(line="preempt 1", id=8))
    assert done(host, "print step").shown.values[0].value == 1
    assert host.engine.state.requests["1"].preemptions == 0
    host.send(pr.Do(line="continue", id=6))
    answers = [host.until(pr.Done), host.until(pr.Done)]
    assert [answer.id for answer in answers] == [6, 8]
    host.end()


def test_commands_of_a_point_are_carried_out_at_its_stop_and_may_let_it_go_on() -> None:
    host = served("hello")
    done(host, "break if pos >= 6")
    done(host, 'commands 1 : print pos ; print "a;b" ; continue')
    host.send(pr.Run())
    stops = [stopped(host) for _ in range(4)]
    assert [stop.stop.position for stop in stops] == [6, 7, 8, 9]
    assert [shown.lines for shown in stops[0].shown] == [("pos = 6",), ('"a;b" = "a;b"',)]
    assert paused(host).why == "idle"
    host.end()


def test_a_pause_takes_back_until() -> None:
    host = served("hello" * 9)
    done(host, "until step > 99")
    host.send(pr.Pause(id=9))
    while (reply := host.until(pr.Reply)) != pr.Reply(id=9):
        assert isinstance(reply, pr.Reply)
    assert done(host, "info breakpoints").points == ()
    assert not host.engine.busy or list(host.engine.state.requests) == ["1"]
    host.end()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("prnt step", "there is no command 'prnt'; near it: print; `help` lists them"),
        ("print stp", "column 7: there is no name 'stp'; near it: step"),
        ("goto 3", "this is about the record: no engine is needed for it"),
        ("finish", "finish goes on with a request: select one of 1, 2"),
        ("abandon", "no step is under way: there is nothing to abandon"),
        ("rewind 3", "there is no step 3 in branch 0"),
        ("condition 3 step > 1", "there is no point 3: there are none"),
    ],
)
def test_what_cannot_be_done_is_one_line(line: str, error: str) -> None:
    host = served("hello", "there")
    assert done(host, line).error == error
    host.end()


def test_a_failed_step_that_is_caught_is_told_as_both() -> None:
    host = served("hello")
    host.fail_at([2], RuntimeError("out of memory"))
    done(host, "catch error")
    host.send(pr.Run())
    stop = stopped(host)
    assert (stop.stop.when, stop.stop.step) == ("failed", 2)
    failed = paused(host)
    assert (failed.why, failed.error) == ("failed", "step 2 failed: out of memory")
    host.end()
