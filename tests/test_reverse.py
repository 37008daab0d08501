"""Looking back: the record gives the values that the run had, and the stops that it would have made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from engine.debug.changing import Means
from engine.debug.checker import Known, check
from engine.debug.console import Console
from engine.debug.debugger import Debugger
from engine.debug.errors import DebugError, LacksError
from engine.debug.evaluate import evaluate
from engine.debug.moment import Moment
from engine.debug.names import SPECS, Needs
from engine.debug.registry import read_line
from engine.debug.said import Shown, Stop
from engine.debug.setting import Setting
from engine.engine import Engine
from engine.execution import Job, Limits, Outcome
from engine.executor import Explanation
from engine.params import RequestSpec
from engine.sampler_rows import SamplerRows
from engine.sampling import choose
from sessions.debug.console import Cursor, RecordConsole
from sessions.debug.recorded import Recording
from sessions.header import Header
from sessions.reader import Session
from tests.recorded import header, writer_on
from tests.sampled import SETTINGS, logits_after
from tests.scripted import VOCAB, ScriptedExecutor

ABOUT: Header = header(14, block_size=4, token_budget=12, max_running=4)


class ExplainingExecutor(ScriptedExecutor):
    """Chooses with the real sampler from made-up logits, and explains its choices."""

    def execute(self, job: Job) -> Outcome:
        outcome = super().execute(job)
        if not job.choices:
            return outcome
        logits = np.stack([logits_after(choice.tokens) for choice in job.choices])
        rows = [
            SamplerRows(0, VOCAB).row(each.request, each.params, each.sample, each.prompt_tokens, each.tokens)
            for each in job.choices
        ]
        choices = choose(logits, rows)
        return Outcome(choices.tokens, choices.draws, Explanation(logits, rows, choices), 1, 1)


def requests() -> list[RequestSpec]:
    """Enough to share prefixes, get chunked, evict and preempt in a pool of 14 blocks."""
    prompts = [range(10), [*range(10), 7, 7, 7], [3] * 17, [5] * 30, [1, 2, 3], range(12)]
    return [RequestSpec(tuple(prompt), SETTINGS[i % len(SETTINGS)]) for i, prompt in enumerate(prompts)]


def run_on(path: Path, points: Sequence[str] = ()) -> tuple[Engine, Debugger, Iterator[Stop]]:
    """An engine recorded at `path`, with points, and the stops it makes on the way to its end."""
    writer = writer_on(path, ABOUT)
    executor = ExplainingExecutor(ABOUT.num_blocks, ABOUT.options.block_size)
    engine = Engine(executor, Limits(10_000, VOCAB), ABOUT.num_blocks, ABOUT.options, writer)
    debugger = Debugger(engine, lambda token: f"<{token}>", Known(0, ABOUT.num_blocks, VOCAB))
    for line in points:
        Setting(debugger).carry_out(read_line(line).command)  # type: ignore[arg-type]

    def stops() -> Iterator[Stop]:
        for batch in (requests()[:4], requests()[4:]):
            for request in batch:
                engine.submit(request)
            for _ in range(12):
                if engine.begun is None and not engine.busy:
                    break
                yield from _until_committed(debugger)
            engine.preempt(next(reversed(engine.state.running)))  # said between steps, met by the next plan
        while engine.busy or engine.begun is not None:
            yield from _until_committed(debugger)
        engine.close()

    return engine, debugger, stops()


def _until_committed(debugger: Debugger) -> Iterator[Stop]:
    while True:
        step = debugger.step()
        if debugger.stop is not None:
            yield debugger.stop
        if step is not None or debugger.engine.begun is None:
            return


STEP_NAMES = [s.form for s in SPECS if s.needs == Needs.STATE and "(" not in s.form]
OBJECT_NAMES = [f"block({b}).{a}" for b in (0, 3, 13) for a in ("state", "refs", "writer", "fill", "hits")] + [
    f"request({r}).{a}" for r in (1, 4, 6, 9) for a in ("state", "pos", "computed", "blocks", "cached")
]
TOKEN_NAMES = [s.form for s in SPECS if Needs.TOKEN in s.needs and "TOKEN" not in s.form]
TOKEN_NAMES += [f"{name}({token})" for name in ("rank", "prob", "logit") for token in (0, 3, 17, 40)]
TOKEN_NAMES += ["req", "req.state", "req.pos"]


def told(names: Sequence[str], known: Known, moment: Moment) -> dict[str, object]:
    return {name: value_of(name, known, moment) for name in names}


def value_of(name: str, known: Known, moment: Moment) -> object:
    try:
        return evaluate(check(name, known), moment)
    except LacksError as error:
        return str(error)


def test_every_name_has_the_same_value_live_and_in_the_record(tmp_path: Path) -> None:
    """At every moment of a run with preemption and eviction; beyond the record's twenty, bounds hold."""
    engine, debugger, stops = run_on(tmp_path / "run.wbs", ["break", "break if pos >= 0"])
    live: dict[tuple[int, str], list[dict[str, object]]] = {}
    for stop in stops:
        moments = [debugger.moment()]
        names = STEP_NAMES + OBJECT_NAMES
        if stop.when == "committed":
            moments = [debugger.moment(request, position) for request, position in debugger.present.tokens]
            names = names + TOKEN_NAMES
        live[stop.step, stop.when] = [told(names, debugger.known, moment) for moment in moments]
    assert engine.state.totals.preemptions
    assert engine.state.totals.evicted_blocks
    with Session.open(tmp_path / "run.wbs") as session:
        known = Known(0, ABOUT.num_blocks, VOCAB)
        seen = 0
        for instant in Recording(session, 0).walk(1, session.last_step()):
            key = (instant.nobody.state.step, instant.when)
            if key not in live:
                continue
            moments = list(instant.tokens()) if instant.when == "committed" else [instant.nobody]
            names = STEP_NAMES + OBJECT_NAMES + (TOKEN_NAMES if instant.when == "committed" else [])
            for expected, moment in zip(live[key], moments, strict=True):
                for name, value in told(names, known, moment).items():
                    seen += 1
                    if type(value).__name__ == "Beyond":
                        assert value.low <= expected[name] <= value.high  # type: ignore[attr-defined, operator]
                    else:
                        assert value == expected[name], (key, name)
        assert seen > 5_000


POINTS = [
    "break if entropy > 2.5",
    "break if not (rank == 1) and req == 2",
    "break if prob < 0.3 or near_tie",
    "break if rank(3) == 1",
    "break if kv.free < 2",
    "break if queue.preempted > 0 and step % 2 == 0",
    "break if block(3).refs == 1 and block(0).state == 'cached'",
    "break if request(4).state == 'PREEMPTED'",
    "break if req.blocks == 5",
    "break",
    "watch kv.used",
    "watch hit_rate",
    "watch rank",
    "watch rank req 2",
    "watch rank(7) > 5",
    "watch block(2).state",
    "watch block(5).fill",
    "watch request(3).state",
    "watch req.state",
    "catch preempt",
    "catch evict",
    "catch miss",
    "catch finish",
    "catch finish req 3",
]


def facts(stop: Stop) -> tuple[object, ...]:
    return (
        stop.point, stop.step, stop.when, stop.request, stop.position, stop.old, stop.new, stop.values,
        stop.happened, stop.more,
    )  # fmt: skip


def all_reverse(session: Session, lines: Sequence[str], ignore: int = 0) -> list[Stop]:
    console = RecordConsole(session)
    for number, line in enumerate(lines, 1):
        console.line(line, Cursor(0, 0))
        if ignore:
            console.line(f"ignore {number} {ignore}", Cursor(0, 0))
    found: list[Stop] = []
    cursor = Cursor(0, session.last_step())
    while (shown := console.line("reverse-continue", cursor)).stop is not None:
        assert shown.goto is not None
        found.append(shown.stop)
        cursor = Cursor(*shown.goto)
    return found[::-1]


@pytest.mark.parametrize("line", POINTS)
def test_going_back_makes_the_stops_that_going_forward_made(tmp_path: Path, line: str) -> None:
    """Of one point over the whole run, backwards from its end; the last moment itself is where one begins."""
    _, _, stops = run_on(tmp_path / "run.wbs", [line])
    forward = list(stops)
    with Session.open(tmp_path / "run.wbs") as session:
        if forward and (forward[-1].step, forward[-1].when) == (session.last_step(), "committed"):
            forward.pop()
        assert forward
        assert [facts(stop) for stop in all_reverse(session, [line])] == [facts(stop) for stop in forward]


@pytest.mark.parametrize("line", ["break if entropy > 2.5", "watch kv.used", "watch rank req 2", "catch preempt"])
def test_hits_that_are_let_pass_are_let_pass_backwards_too(tmp_path: Path, line: str) -> None:
    _, debugger, stops = run_on(tmp_path / "run.wbs", [line])
    debugger.points[1].ignore = debugger.points[1].let_pass = 3
    forward = list(stops)
    with Session.open(tmp_path / "run.wbs") as session:
        if forward and (forward[-1].step, forward[-1].when) == (session.last_step(), "committed"):
            forward.pop()
        found = all_reverse(session, [line], ignore=3)
        assert [facts(stop)[:7] for stop in found] == [facts(stop)[:7] for stop in forward]


def test_several_points_stop_at_the_latest_of_their_moments(tmp_path: Path) -> None:
    lines = ["watch block(2).state", "catch preempt", "break if entropy > 2.5"]
    _, _, stops = run_on(tmp_path / "run.wbs", lines)
    forward = list(stops)
    with Session.open(tmp_path / "run.wbs") as session:
        found = all_reverse(session, lines)
        assert [(stop.step, stop.when, stop.point) for stop in found] == [
            (stop.step, stop.when, stop.point) for stop in forward
        ][: len(found)]
        assert len(found) >= len(forward) - 1


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    path = tmp_path_factory.mktemp("reverse") / "run.wbs"
    list(run_on(path)[2])
    with Session.open(path) as session:
        yield session


def test_queries_find_steps_instead_of_folding_them(recorded: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition on tokens, on a block or a request, or an event: nothing else is looked at."""
    looked: list[tuple[int, int]] = []
    for name in ("walk", "walk_without_state"):
        plain = getattr(Recording, name)

        def spy(self: Recording, first: int, last: int, plain: object = plain) -> object:
            looked.append((first, last))
            return plain(self, first, last)  # type: ignore[operator]

        monkeypatch.setattr(Recording, name, spy)
    for line in (
        "break if entropy > 2.5", "watch block(2).state", "catch preempt", "watch token", "watch block(5).fill",
        "watch request(3).state",
    ):  # fmt: skip
        looked.clear()
        console = RecordConsole(recorded)
        console.line(line, Cursor(0, 0))
        shown = console.line("rc", Cursor(0, recorded.last_step()))
        assert shown.stop is not None
        assert all(first == last for first, last in looked)
        assert len(looked) <= 4


def ask(session: Session, line: str, step: int, request: str | None = None, position: int | None = None) -> Shown:
    return RecordConsole(session).line(line, Cursor(0, step, request, position))


def test_last_says_what_changed_when_and_who_wrote_a_block(recorded: Session) -> None:
    end = recorded.last_step()
    step = next(
        s for s in range(end, 0, -1)
        if recorded.state_at(s).blocks.ref_count[3] != recorded.state_at(s - 1).blocks.ref_count[3]
    )  # fmt: skip
    shown = ask(recorded, "last block(3).refs", end)
    assert shown.goto == (0, step)
    old, new = (recorded.state_at(s).blocks.ref_count[3] for s in (step - 1, step))
    assert f"→ {new} in" in shown.lines[0] or f"{old} →" in shown.lines[0]
    assert (
        shown.lines[1].startswith("block 3 was written last by request")
        or shown.lines[1] == "block 3 holds nothing"
    )
    token = recorded.tokens("2")[-1]
    before = recorded.tokens("2")[-2]
    shown = ask(recorded, "last token", end, "2")
    if token.chosen_step < end and token.token != before.token:
        assert shown.lines[0].startswith(f"token: {before.token} → {token.token} in step {token.chosen_step}")
    assert ask(recorded, "last kv.total", end).lines == ("kv.total did not change before",)


def test_last_goes_back_change_by_change(recorded: Session) -> None:
    """From each place it came to, to the one before; the first change is from the empty engine."""
    console, cursor = RecordConsole(recorded), Cursor(0, recorded.last_step())
    values = []
    while (shown := console.line("last kv.used", cursor)).stop is not None:
        values.append((shown.stop.old, shown.stop.new))
        assert shown.goto is not None
        cursor = Cursor(*shown.goto)
    assert len(values) > 20
    assert values[0][1] == "0"
    assert values[-1][0] == "0"
    assert all(old == before for (old, _), (_, before) in pairwise(values))


def test_who_wrote_a_block_last_is_who_the_events_say(recorded: Session) -> None:
    """For every block that holds something half way: by a fold over `computed`, as a reference."""
    half = recorded.last_step() // 2
    written: dict[int, tuple[str, int]] = {}
    for instant in Recording(recorded, 0).walk(1, half):
        if instant.when == "planned":
            state = instant.nobody.state
            for work in instant.nobody.batch:
                table = state.requests[work.request].table
                blocks = {table[position // 4] for position in range(work.start, work.stop)}
                written |= dict.fromkeys(blocks, (work.request, state.step))
    filled = [block for block in range(14) if recorded.state_at(half).blocks.fill[block]]
    assert len(filled) >= 5
    for block in filled:
        line = ask(recorded, f"last block({block}).refs", half).lines[-1]
        request, step = written[block]
        if "which got it in step" in line:  # computed again later: the record keeps the latest time alone
            assert f"by request {request}," in line
        else:
            assert line == f"block {block} was written last by request {request} in step {step}"


def test_moving_through_time_and_bookmarks(recorded: Session) -> None:
    console, end = RecordConsole(recorded), recorded.last_step()
    assert console.line("goto 7", Cursor(0, end)).goto == (0, 7)
    assert console.line("rs 2", Cursor(0, 7)).goto == (0, 5)
    assert console.line("goto end", Cursor(0, 5)).goto == (0, end)
    assert console.line("branch 0", Cursor(0, 5)).lines == (f"branch 0, step 5 of {end}",)
    assert console.line("bookmark here", Cursor(0, 5)).lines == ("here is step 5",)
    assert console.line("bm", Cursor(0, 9)).lines == ("m1 is step 9",)
    assert console.line("goto here", Cursor(0, end)).goto == (0, 5)
    assert console.line("bookmarks", Cursor(0, 5)).lines == ("here  step 5 of branch 0", "m1  step 9 of branch 0")
    for line, error in [
        ("goto 999", f"there is no step 999: the branch ends at step {end}"),
        ("goto nowhere", "there is no bookmark 'nowhere': there are here, m1"),
        ("rs", "this is the beginning: there is no step before"),
        ("rc", "no point is set: break, watch and catch set one"),
        ("next", "this needs the engine: load the model behind the recording, and go on from here"),
        ("last layer(0).q.rms", "stages are not in the record"),
    ]:
        with pytest.raises(DebugError) as refused:
            console.line(line, Cursor(0, 0))
        assert str(refused.value).startswith(error)


def test_of_points_inside_forward_passes_the_record_claims_nothing(recorded: Session) -> None:
    console, here = RecordConsole(recorded), Cursor(0, recorded.last_step())
    console.line("break at layer(0).q", here)
    shown = console.line("rc", here)
    assert shown.goto is None
    assert shown.lines == (
        "point 1 is judged inside forward passes, which the record does not keep: rewind, then continue",
    )
    console.line("break if kv.used < 0", here)
    shown = console.line("rc", here)
    assert shown.goto == (0, 0)
    assert shown.lines[-1] == "no other point would have stopped before: this is the beginning"


def test_looking_at_any_token_of_the_record(recorded: Session) -> None:
    row = recorded.tokens("2")[3]
    shown = ask(recorded, "print entropy", recorded.last_step(), "2", row.position)
    assert shown.values[0].value == row.entropy
    assert ask(recorded, "print text", 3, "2", row.position).values[0].value == row.text
    assert ask(recorded, "info requests", 5).lines
    with pytest.raises(LacksError, match="chose no token at position 2"):
        ask(recorded, "print entropy", 5, "2", 2)


def test_info_tells_the_same_of_a_run_and_of_its_record(tmp_path: Path) -> None:
    """In the middle of the run, with requests that wait, shared blocks and a tree."""
    engine, debugger, stops = run_on(
        tmp_path / "run.wbs", ["break if step == 8 and kv.used > 0", "tbreak if step == 9"]
    )
    means = Means(lambda _request: [], lambda _text: [])
    live: dict[str, tuple[str, ...]] = {}
    for stop in stops:
        if (stop.step, stop.when) == (9, "planned"):
            break
        if stop.step == 8 and stop.when == "planned":
            debugger.points.delete((1,))
            debugger.changed()
            debugger.complete(engine.begun)  # type: ignore[arg-type]
            for topic in ("requests", "queues", "blocks", "radix", "plugins"):
                answer = Console(debugger, means).line(f"info {topic}")
                assert isinstance(answer, Shown)
                live[topic] = answer.lines
    list(stops)
    assert len(live["requests"]) > 2
    assert len(live["radix"]) > 2
    with Session.open(tmp_path / "run.wbs") as session:
        for topic, lines in live.items():
            assert ask(session, f"info {topic}", 8).lines == lines


def test_a_record_without_full_logits_says_what_would_give_them(tmp_path: Path) -> None:
    list(run_on(tmp_path / "run.wbs")[2])
    with Session.open(tmp_path / "run.wbs") as session:
        row = session.tokens("1")[0]
        kept = set(session.details_of_step(row.chosen_step)[0].candidates.ids)
        beyond = next(token for token in range(VOCAB) if token not in kept)
        assert ask(session, f"print rank({beyond}) > 20", 1, "1", row.position).values[0].value is True
        with pytest.raises(LacksError, match="record with --capture logits"):
            ask(session, f"print rank({beyond}) == 30", 1, "1", row.position)
        console = RecordConsole(session)
        console.line(f"break if rank({beyond}) == 30", Cursor(0, 0))
        lines = console.line("rc", Cursor(0, session.last_step())).lines
        assert any(
            "could not be judged: the rank of a token beyond the 20 likeliest is not kept" in x for x in lines
        )


def test_stages_are_left_to_the_engine(recorded: Session) -> None:
    console = RecordConsole(recorded)
    console.line("break if layer(1).q.rms > 3", Cursor(0, 0))
    shown = console.line("rc", Cursor(0, 9))
    assert shown.goto is None  # whether it would have stopped is not known
    assert shown.lines == (
        "point 1 is judged inside forward passes, which the record does not keep: rewind, then continue",
    )
