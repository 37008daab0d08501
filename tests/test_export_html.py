"""The report holds what the record holds, is one harmless file, and is no larger than asked for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.sanitise import display_text
from sessions.errors import SessionError
from sessions.export import ExportOptions, export_session
from sessions.export.report import choices
from sessions.export.report.packing import unpack, unpack_bytes
from sessions.reader import Session
from tests.exported import HOSTILE, attention, record_spiced
from tests.recorded import SHAPE, record_demo


class Parts(HTMLParser):
    """The elements of a page with their attributes, and the text in scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] and self.tags[-1][0] in ("script", "style") and data.strip():
            self.inside.append((self.tags[-1][0], data))

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def spiced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_spiced(tmp_path_factory.mktemp("html") / "spiced.wbs")


@pytest.fixture(scope="module")
def page(spiced: Path) -> str:
    export_session(spiced, "html", spiced.with_suffix(".html"))
    return spiced.with_suffix(".html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data(page: str) -> dict[str, Any]:
    return data_of(page)


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    parsed: dict[str, Any] = json.loads(found[1], parse_constant=pytest.fail)
    return parsed


def test_requests_and_tokens_are_those_of_the_record(spiced, data) -> None:
    with Session.open(spiced) as session:
        assert [each["request"] for each in data["requests"]] == [row.request for row in session.requests()]
        for part, row in zip(data["requests"], session.requests(), strict=True):
            shown = [data["texts"][number] for number in unpack(part["tokens"])]
            tokens = session.tokens(row.request)
            ids = [*session.prompt_ids(row.request), *(token.token for token in tokens)]
            assert shown == [display_text(session.token_text(token)) for token in ids]
            output = unpack(part["output"])
            assert output["position"] == [token.position for token in tokens]
            for name in ("raw_logprob", "logprob", "rank", "entropy", "draw", "low", "high", "chosen_step"):
                assert output[name] == [getattr(token, name) for token in tokens], name
            assert part["params"] == json.loads(row.params)
            phases = session.request_phases(row.request)
            expected = [[phase.phase, phase.first_step, phase.last_step] for phase in phases]
            assert [each[:3] for each in unpack(part["phases"])] == expected


def test_candidates_are_those_of_the_record_to_the_last_bit(spiced, data) -> None:
    compared = 0
    with Session.open(spiced) as session:
        for request, packed in data["choices"].items():
            for choice in unpack(packed):
                about = session.details(request, choice["position"])
                columns = about.candidates
                assert np.array_equal(np.float32(choice["raw"]), np.float32(columns.raw))
                assert np.array_equal(np.float32(choice["prob"]), np.float32(columns.prob))
                assert [data["texts"][number] for number in choice["text"]] == [
                    display_text(session.token_text(token)) for token in columns.ids
                ]
                assert choice["removed"] == [columns.removing_stage(place) for place in range(len(columns))]
                assert columns.ids[choice["chosen"]] == about.token
                assert [each[0] for each in choice["stages"]] == [each.stage for each in about.stages]
                removed = [place for place, stage in enumerate(choice["removed"]) if stage]
                assert all(choice["why"][place] for place in removed)
                compared += 1
        assert compared == sum(len(session.tokens(row.request)) for row in session.requests()) > 40


def test_the_draw_falls_into_the_chosen_interval(spiced, data) -> None:
    drawn = 0
    for request in data["requests"]:
        output = unpack(request["output"])
        for choice in unpack(data["choices"][request["request"]]):
            row = output["position"].index(choice["position"])
            if output["draw"][row] is None:
                assert choice["walk"] is None
                continue
            edges = [0.0, *(end for _, end in choice["walk"])]
            assert edges == sorted(edges)
            assert edges[-1] == pytest.approx(1.0, abs=1e-6)
            index = [place for place, _ in choice["walk"]].index(choice["chosen"])
            assert (edges[index], edges[index + 1]) == (output["low"][row], output["high"][row])
            assert edges[index] <= output["draw"][row] < edges[index + 1]
            drawn += 1
    assert drawn > 10


def test_steps_and_decisions_are_those_of_the_record(spiced, data) -> None:
    steps, decisions = unpack(data["steps"]), unpack(data["decisions"])
    with Session.open(spiced) as session:
        rows = session.step_rows(1, session.last_step())
        for name in ("step", "tokens", "owned_blocks", "waiting", "hit_tokens", "total_ns"):
            assert steps[name] == [getattr(row, name) for row in rows], name
        batch = [(work.request, work.tokens) for work in rows[0].works]
        assert [(work[0], work[3]) for work in steps["batch"][0]] == batch
        expected = [(row.step, each.request, each.code) for row in rows for each in session.decisions(row.step)]
        assert [tuple(each[:3]) for each in decisions] == expected
        assert all(each[3] for each in decisions)


def test_blocks_replayed_from_changes_are_those_of_the_fold(tmp_path) -> None:
    record_demo(tmp_path / "demo.wbs")
    check_blocks(tmp_path / "demo.wbs", ExportOptions())
    check_blocks(tmp_path / "demo.wbs", ExportOptions(steps="9:30"))


def check_blocks(path: Path, options: ExportOptions) -> None:
    """Replay the changes as the page does, and compare with the state of every step."""
    page = path.with_name("blocks.html")
    export_session(path, "html", page, options, force=True)
    data = data_of(page.read_text(encoding="utf-8"))
    memory, about = unpack(data["memory"]), data["about"]
    states = [int(digit) for digit in memory["states"]]
    holders = {block: set(names) for block, names in memory["holders"]}
    changes = dict(map(tuple, memory["changes"]))
    with Session.open(path) as session:
        for step in range(about["first_step"], about["last_step"] + 1):
            for block, change, request, _, state in changes.get(step, ()):
                states[block] = state
                names = holders.setdefault(block, set())
                if change in ("allocated", "matched", "copied", "shared"):
                    names.add(request)
                elif change == "released":
                    names.discard(request)
            at = session.state_at(step, about["branch"])
            kinds = [at.blocks.state(block) for block in range(at.blocks.num_blocks)]
            assert states == [("free", "cached", "owned").index(kind) for kind in kinds], step
            tables = {request.id: set(request.table) for request in at.requests.values()}
            for block in range(at.blocks.num_blocks):
                held = {name for name, table in tables.items() if block in table}
                assert holders.get(block, set()) == held, step


def test_attention_is_the_captured_one_within_what_is_said(data) -> None:
    compared = 0
    for packed in data["attention"].values():
        levels = np.frombuffer(unpack_bytes(packed["weights"]), np.uint8)
        start = 0
        for position in packed["positions"]:
            for layer in packed["layers"]:
                stop = start + SHAPE.heads * position
                found = (levels[start:stop] / 255.0) ** 2
                expected = attention(position, layer).reshape(-1)
                assert np.all(np.abs(found - expected) <= 0.004 * np.sqrt(expected) + 1e-5)
                start = stop
                compared += 1
        assert start == len(levels)
    assert compared > 80


def test_nothing_is_loaded_and_only_its_own_script_may_run(page) -> None:
    parts = Parts(page)
    for tag, attributes in parts.tags:
        assert not {"src", "href", "srcset", "action", "style"} & {
            name for name in attributes if not (name == "href" and (attributes[name] or "").startswith("#"))
        }, (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
    for _, inside in parts.inside:
        assert "http://" not in inside
        assert "https://" not in inside
        assert "url(" not in inside
        assert "@import" not in inside
        assert ".innerHTML" not in inside
    [policy] = [each["content"] for each in parts.attributes("meta") if each.get("http-equiv")]
    assert policy.startswith("default-src 'none';")
    script = [text for tag, text in parts.inside if tag == "script"][-1]
    style = next(text for tag, text in parts.inside if tag == "style")
    for text in (script, style):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_hostile_text_cannot_leave_the_data(page, data) -> None:
    parts = Parts(page)
    assert len(parts.attributes("script")) == 2
    assert not parts.attributes("img")
    shown = {display_text(text).strip() for text in HOSTILE}
    assert shown <= {text.strip() for text in data["texts"]}
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\u2028" not in page


def test_the_page_says_how_large_it_is(page) -> None:
    said = re.search(r"one file of ([\d,]+) bytes", page)
    assert said is not None
    assert int(said[1].replace(",", "")) == len(page.encode())


def test_a_page_that_would_be_too_large_leaves_out_and_says_so(spiced, page, tmp_path) -> None:
    missing: list[str] = []
    for share in (0.95, 0.85, 0.75, 0.7, 0.67):
        output = tmp_path / f"{share}.html"
        most = share * len(page.encode())
        left_out = export_session(spiced, "html", output, ExportOptions(max_mb=most / 1_000_000))
        smaller = output.read_text(encoding="utf-8")
        assert len(smaller.encode()) <= most
        assert data_of(smaller)["about"]["left_out"] == list(left_out)
        smaller_than_all = [line for line in left_out if not line.startswith("captured")]
        assert smaller_than_all
        assert all("larger than --max-mb" in line for line in smaller_than_all)
        missing += smaller_than_all
    assert {line.partition(" ")[0] for line in missing} == {"attention", "candidates", "steps"}
    with pytest.raises(SessionError, match="raise --max-mb"):
        export_session(spiced, "html", tmp_path / "none.html", ExportOptions(max_mb=0.02))


def test_filters_reach_every_part(spiced, tmp_path) -> None:
    options = ExportOptions(steps="2:9", requests="2", layers="1")
    export_session(spiced, "html", tmp_path / "a.html", options)
    data = data_of((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert [each["request"] for each in data["requests"]] == ["2"]
    assert unpack(data["steps"])["step"] == list(range(2, 10))
    assert set(data["choices"]) == set(data["attention"]) == {"2"}
    assert data["attention"]["2"]["layers"] == [1]
    assert max(unpack(data["requests"][0]["output"])["chosen_step"]) <= 9
    assert data["about"]["requests"] == ["2"]


def test_the_order_of_the_draw_is_by_processed_logit(spiced) -> None:
    with Session.open(spiced) as session:
        about = session.details("3", session.tokens("3")[4].position)
    after = about.candidates.values[-1]
    found = [after[place] for place in choices.order(about)]
    assert found == sorted(found, reverse=True)


def test_as_many_steps_are_shown_as_fit(tmp_path, monkeypatch) -> None:
    record_demo(tmp_path / "demo.wbs")
    monkeypatch.setattr("sessions.export.html._PROBE_STEPS", 2)
    assert export_session(tmp_path / "demo.wbs", "html", tmp_path / "whole.html") == ()
    whole = (tmp_path / "whole.html").stat().st_size
    shown = []
    for megabytes in (whole * 0.93 / 1e6, whole * 0.96 / 1e6):
        options = ExportOptions(max_mb=megabytes)
        export_session(tmp_path / "demo.wbs", "html", tmp_path / "a.html", options, force=True)
        shown.append(data_of((tmp_path / "a.html").read_text(encoding="utf-8"))["about"]["last_step"])
    with Session.open(tmp_path / "demo.wbs") as session:
        assert 3 < shown[0] < shown[1] <= session.last_step()
