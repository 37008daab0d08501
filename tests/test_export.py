"""Exports hold what the session holds, appear whole or not at all, and refuse with one line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine import events as ev
from engine.state import State
from sessions import schema
from sessions.errors import SessionError
from sessions.export import FORMATS, export_session
from sessions.export.trace_clock import TraceClock
from sessions.reader import Session
from tests.exported import record_spiced
from tests.fold_process import digest
from tests.recorded import DEMO_HEADER, engine_on, record_demo, writer_on
from tests.scripted import spec
from tests.trace_check import check_trace


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session") / "demo.wbs"
    record_demo(path)
    return path


@pytest.fixture(scope="module")
def spiced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_spiced(tmp_path_factory.mktemp("session") / "spiced.wbs")


def test_jsonl_is_a_header_and_events_that_fold_to_the_same_state(demo, tmp_path) -> None:
    export_session(demo, "jsonl", tmp_path / "out.jsonl")
    first, *lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
    about = json.loads(first, parse_constant=pytest.fail)
    assert list(about)[:2] == ["type", "schema_version"]
    assert about["excerpt"]["left_out"] == []
    assert (about["type"], about["schema_version"], about["num_blocks"]) == ("header", schema.SCHEMA_VERSION, 14)
    state = State(about["num_blocks"], about["options"]["block_size"], about["options"]["eviction"])
    for line in lines:
        json.loads(line, parse_constant=pytest.fail)
        state.apply(ev.decode(line))
    with Session.open(demo) as session:
        assert len(lines) == session.last_seq
        assert digest(state) == digest(session.state_at(session.last_step()))


def test_perfetto_slices_nest_and_flows_lead_from_preemption_to_resumption(demo, tmp_path) -> None:
    export_session(demo, "perfetto", tmp_path / "out.json.gz")
    trace = json.loads(gzip.decompress((tmp_path / "out.json.gz").read_bytes()), parse_constant=pytest.fail)
    events = trace["traceEvents"]
    check_trace(events)
    assert trace["displayTimeUnit"] == "ms"
    with Session.open(demo) as session:
        steps = [event for event in events if event["name"].startswith("step ")]
        rows = session.step_rows(1, session.last_step())
        assert [event["args"]["step"] for event in steps] == [row.step for row in rows]
        assert [event["args"]["num_tokens"] for event in steps] == [row.tokens for row in rows]
        assert min(event["ts"] for event in steps) == 0
        parts = {event["name"] for event in events if event["ph"] == "X"} - {event["name"] for event in steps}
        assert parts == {"schedule", "forward", "sample", "commit"}
        spans = [event for event in events if event["ph"] == "b" and not event["name"].startswith("request")]
        assert len(spans) == session.count_rows("phases")
        resumed = [e for e in session.events() if isinstance(e.event, ev.Admitted) and e.event.resumed]
        assert len([event for event in events if event["ph"] == "s"]) == len(resumed) > 0
    counters = {event["name"] for event in events if event["ph"] == "C"}
    assert counters == {"KV blocks", "requests", "tokens per second"}
    blocks = [sum(event["args"].values()) for event in events if event["name"] == "KV blocks"]
    assert set(blocks) == {DEMO_HEADER.num_blocks}


def test_the_trace_check_sees_what_is_wrong(demo, tmp_path) -> None:
    export_session(demo, "perfetto", tmp_path / "out.json")
    events = json.loads((tmp_path / "out.json").read_bytes())["traceEvents"]
    at = {ph: next(i for i, e in enumerate(events) if e["ph"] == ph) for ph in "Xesf"}
    inside = next(i for i, e in enumerate(events) if e["name"] == "forward")
    for broken in (
        [*events[:inside], events[inside] | {"dur": 1e9}, *events[inside + 1 :]],
        events[: at["e"]] + events[at["e"] + 1 :],
        events[: at["f"]] + events[at["f"] + 1 :],
        [*events[: at["s"]], events[at["s"]] | {"ts": 1e9}, *events[at["s"] + 1 :]],
    ):
        with pytest.raises(AssertionError):
            check_trace(broken)


def test_perfetto_of_a_run_cut_off_ends_open_phases_at_its_end(tmp_path) -> None:
    writer = writer_on(tmp_path / "run.wbs", DEMO_HEADER)
    engine = engine_on(writer, DEMO_HEADER)
    engine.submit(spec(range(9), 50))
    engine.run(5)
    engine.submit(spec(range(9), 50))
    writer.close()
    export_session(tmp_path / "run.wbs", "perfetto", tmp_path / "out.json")
    check_trace(json.loads((tmp_path / "out.json").read_bytes())["traceEvents"])


def test_a_clock_that_jumps_back_does_not_turn_the_trace_around(demo) -> None:
    with Session.open(demo) as session:
        rows = session.step_rows(1, 4)
    clock = TraceClock()
    begun = [clock.add(row) for row in (rows[0], replace(rows[1], started_ns=1), replace(rows[2], started_ns=0))]
    assert begun == [0, rows[0].total_ns, rows[0].total_ns + rows[1].total_ns]


def test_csv_has_every_row_of_every_plain_table(demo, tmp_path) -> None:
    export_session(demo, "csv", tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive, Session.open(demo) as session:
        assert {Path(name).stem for name in archive.namelist()} == set(schema.PLAIN_TABLES)
        for table in schema.PLAIN_TABLES:
            text = io.StringIO(archive.read(f"{table}.csv").decode(), newline="")
            head, *rows = csv.reader(text)
            expected = session.query(f"SELECT * FROM {table}")
            assert tuple(head) == expected.columns
            assert sorted(rows) == sorted(["" if v is None else str(v) for v in row] for row in expected.rows)


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_tells_its_progress_to_the_end(spiced, tmp_path, to) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow")
    told: list[tuple[int, int]] = []
    export_session(spiced, to, tmp_path / "out.zip", progress=lambda *now: told.append(now))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] > 0


def test_nothing_is_overwritten_without_force(demo, tmp_path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("precious")
    with pytest.raises(SessionError, match="exists"):
        export_session(demo, "jsonl", output)
    assert output.read_text() == "precious"
    export_session(demo, "jsonl", output, force=True)
    assert output.read_text().startswith('{"type":"header"')


def test_the_session_itself_is_never_overwritten(demo, tmp_path) -> None:
    session = Path(shutil.copy(demo, tmp_path))
    before = session.read_bytes()
    link = tmp_path / "link.jsonl"
    link.symlink_to(session)
    for output in (session, link):
        with pytest.raises(SessionError, match="is the session itself"):
            export_session(session, "jsonl", output, force=True)
    assert session.read_bytes() == before


def test_an_export_that_fails_leaves_nothing_behind(demo, tmp_path) -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_session(demo, "jsonl", tmp_path / "out.jsonl", progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("to", "output", "message"),
    [
        ("xml", "out.xml", "there is no format xml: use csv, dot, html, jsonl, parquet, perfetto,"),
        ("csv", "out.csv", "ends in .zip"),
        ("jsonl", "nowhere/out.jsonl", "cannot be written: No such file"),
        ("jsonl", ".", "exists"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(demo, tmp_path, to, output, message) -> None:
    with pytest.raises(SessionError, match=message) as refused:
        export_session(demo, to, tmp_path / output)
    assert "\n" not in str(refused.value)


def test_a_dash_is_stdout(demo) -> None:
    code = "import sys; from pathlib import Path; from sessions.export import export_session as e;"
    code += f"e(Path({str(demo)!r}), 'jsonl', Path('-'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.startswith(b'{"type":"header"')
    assert ev.decode(done.stdout.splitlines()[1]).step == 0
