"""Which part of a session an export takes, what it says was left out, and how wrong wishes are refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from engine import events as ev
from sessions.errors import SessionError
from sessions.export import ExportOptions, export_session
from sessions.export.opening import open_excerpt
from sessions.export.options import parse_layers, parse_requests, parse_steps
from sessions.reader import Session
from tests.commands import ROOT, run
from tests.exported import record_spiced
from tests.recorded import DEMO_HEADER, engine_on, record_demo, writer_on
from tests.scripted import spec
from tests.test_export_html import data_of
from workbench.cli.export_flags import ExportFlags, ExportFormat
from workbench.exportbox import FIELDS
from workbench.exporting import FORMATS


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parts") / "demo.wbs"
    record_demo(path)
    return path


@pytest.mark.parametrize(
    ("text", "first", "last"), [("3:9", 3, 9), (":9", 1, 9), ("4:", 4, 20), ("7", 7, 7), (None, 1, 20)]
)
def test_a_range_of_steps_includes_both_ends(text, first, last) -> None:
    assert parse_steps(text, 20)[:2] == (first, last)


@pytest.mark.parametrize("text", ["9:3", "0:4", "5:21", "21", "x", "1:2:3", "-1:2", ""])
def test_a_range_that_is_none_is_refused(text) -> None:
    with pytest.raises(SessionError, match="--steps is"):
        parse_steps(text, 20)


def test_a_number_stands_for_all_samples_of_a_prompt() -> None:
    known = ["1", "2.0", "2.1", "3", "10"]
    assert parse_requests("2,10", known) == ("2.0", "2.1", "10")
    assert parse_requests(" 3 , 2.1", known) == ("2.1", "3")
    with pytest.raises(SessionError, match=r"--requests names '4': the session has 1, 2\.0, 2\.1, 3, 10"):
        parse_requests("1,4", known)


def test_layers_are_ranges_and_numbers() -> None:
    assert parse_layers("0-2,5", 6) == {0, 1, 2, 5}
    for text in ("6", "3-1", "a", ""):
        with pytest.raises(SessionError, match="--layers is"):
            parse_layers(text, 6)


def test_jsonl_of_a_part_has_its_events_and_says_that_it_does_not_fold(demo, tmp_path) -> None:
    left_out = export_session(demo, "jsonl", tmp_path / "a.jsonl", ExportOptions(steps="4:9", requests="2"))
    first, *lines = (tmp_path / "a.jsonl").read_bytes().splitlines()
    events = [ev.decode(line) for line in lines]
    with Session.open(demo) as session:
        expected = [
            row.event
            for row in session.events()
            if 4 <= row.event.step <= 9 and ev.request_in(row.event) in (None, "2")
        ]
    assert events == expected
    assert any("do not fold" in line for line in left_out)
    assert json.loads(first)["excerpt"]["left_out"] == list(left_out)


def test_perfetto_of_a_part_has_its_steps_and_requests(demo, tmp_path) -> None:
    export_session(demo, "perfetto", tmp_path / "a.json", ExportOptions(steps="10:20", requests="3,4"))
    events = json.loads((tmp_path / "a.json").read_bytes())["traceEvents"]
    assert [e["args"]["step"] for e in events if e["name"].startswith("step ")] == list(range(10, 21))
    assert {e["id"] for e in events if e["ph"] == "b"} <= {"3", "4.0", "4.1"}
    assert min(e["ts"] for e in events if e["ph"] == "X") == 0


def test_csv_says_in_the_zip_what_part_it_is(demo, tmp_path) -> None:
    left_out = export_session(demo, "csv", tmp_path / "a.zip", ExportOptions(steps="10:20"))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        about = json.loads(archive.comment)
    assert (about["first_step"], about["last_step"], about["left_out"]) == (10, 20, list(left_out))


def test_a_session_that_still_grows_is_exported_as_of_one_moment(tmp_path) -> None:
    writer = writer_on(tmp_path / "run.wbs", DEMO_HEADER)
    engine = engine_on(writer, DEMO_HEADER)
    engine.submit(spec(range(9), 50))
    engine.run(5)
    with open_excerpt(tmp_path / "run.wbs", ExportOptions()) as excerpt:
        engine.run(5)
        assert [row.step for row in excerpt.step_rows()] == [1, 2, 3, 4, 5]
        assert excerpt.session.path != tmp_path / "run.wbs"
        [said] = excerpt.left_out
    assert said.startswith("what came after step 5: the session was still being recorded")
    writer.close()
    with open_excerpt(tmp_path / "run.wbs", ExportOptions()) as excerpt:
        assert excerpt.last_step == 10
        assert excerpt.left_out == []


def test_the_command_the_screen_and_the_formats_know_the_same_options() -> None:
    from dataclasses import fields
    from typing import get_args

    assert set(get_args(ExportFormat)) == set(FORMATS)
    asked = {field.name for field in fields(ExportOptions)}
    assert {field.name for field in fields(ExportFlags)} == asked
    assert set(FIELDS) | {"redact"} == asked
    assert set().union(*(each.options for each in FORMATS.values())) == asked


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize(
    ("flag", "value"),
    [("steps", "1:2"), ("requests", "1"), ("layers", "0"), ("stages", "logits"), ("step", 1), ("max_mb", 2),
     ("size", "80x24"), ("views", "overview"), ("fps", 2)],
)  # fmt: skip
def test_an_option_that_means_nothing_for_a_format_is_refused(demo, tmp_path, to, flag, value) -> None:
    if flag in FORMATS[to].options:
        return
    option = f"--{flag.replace('_', '-')}"
    done = run("export", demo, "--to", to, "-o", tmp_path / "out.zip", option, value)
    assert done.code == 2
    assert done.err == f"workbench: {option} means nothing for {to}: leave it out\n"
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_was_left_out(tmp_path) -> None:
    session = record_spiced(tmp_path / "spiced.wbs")
    done = run("export", session, "--to", "html", "-o", tmp_path / "a.html", "--max-mb", "0.1")
    assert done.code == 0
    assert done.out == ""
    assert "workbench: left out: attention of requests" in done.err
    assert f"workbench: wrote {tmp_path / 'a.html'}" in done.err
    again = run("export", session, "--to", "html", "-o", tmp_path / "b.html", "--max-mb", "0.1", "--json")
    told = json.loads(again.out)
    assert told["size_bytes"] == (tmp_path / "b.html").stat().st_size
    assert [line for line in told["left_out"] if line.startswith("attention of requests")]
    assert again.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--branch", 3), "--branch is 3: the session has branch 0 only"),
        (("--steps", "5:999"), "--steps is '5:999': the session has steps 1 to"),
        (("--requests", "77"), "--requests names '77': the session has 1, 2, 3"),
        (("--max-mb", 0), "--max-mb is 0: it must be above 0 and at most 1000"),
    ],
)
def test_a_part_that_is_not_there_is_wrong_use(demo, tmp_path, arguments, message) -> None:
    done = run("export", demo, "--to", "html", "-o", tmp_path / "a.html", *arguments)
    assert done.code == 2
    assert done.err.startswith(f"workbench: {message}")
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_document_names_every_format_option_and_field(demo, tmp_path) -> None:
    text = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    for name in FORMATS:
        assert f"| `{name}` |" in text
    for option in set().union(*(each.options for each in FORMATS.values())):
        assert f"--{option.replace('_', '-')}" in text, option
    export_session(demo, "html", tmp_path / "a.html")
    for field in data_of((tmp_path / "a.html").read_text(encoding="utf-8")):
        assert f"`{field}`" in text, field


@pytest.mark.parametrize("redact", [False, True])
@pytest.mark.parametrize("submitted", [False, True])
def test_a_session_without_a_step_can_be_exported(tmp_path, redact, submitted) -> None:
    writer = writer_on(tmp_path / "run.wbs", DEMO_HEADER)
    if submitted:
        engine_on(writer, DEMO_HEADER).submit(spec(range(5), 3))
    writer.close()
    for to in ("html", "jsonl", "perfetto", "csv", "sqlite", "dot"):
        options = ExportOptions(redact=redact)
        export_session(tmp_path / "run.wbs", to, tmp_path / "out.zip", options, force=True)
    export_session(tmp_path / "run.wbs", "html", tmp_path / "a.html", ExportOptions(redact=redact))
    data = data_of((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert len(data["requests"]) == submitted
    for to in ("safetensors", "asciicast"):
        with pytest.raises(SessionError, match=r"no captured tensors|0 frames"):
            export_session(tmp_path / "run.wbs", FORMATS[to], tmp_path / "none", ExportOptions(redact=redact))
