"""Redaction: no format says a word of what was prompted or generated, and everything else stays as it was."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine.state import State
from sessions.errors import SessionError
from sessions.export import ExportOptions, export_session
from sessions.export.report.packing import unpack, unpack_bytes
from sessions.reader import Session
from sessions.redaction import redact
from sessions.redaction.hiding import MARK, hide
from sessions.redaction.pseudonyms import Histories, pseudonym
from sessions.redaction.pseudonyms import Path as TokenPath
from sessions.vocabulary import LENGTHS
from tests.exported import STOP, TEXTS, record_spiced
from tests.recorded import DEMO_HEADER, engine_on, header, record_demo, writer_on
from tests.scripted import spec
from workbench.exporting import FORMATS

PATH = "models/scripted"


@pytest.fixture(scope="module")
def spiced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_spiced(tmp_path_factory.mktemp("redaction") / "spiced.wbs")


@pytest.fixture(scope="module")
def redacted(spiced: Path) -> Path:
    copy = spiced.with_name("redacted.wbs")
    shutil.copyfile(spiced, copy)
    redact(copy)
    return copy


def everything_in(path: Path) -> Iterator[bytes]:
    """The bytes of an export, with everything unpacked that a reader could unpack."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in files:
        data = file.read_bytes()
        yield data
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                yield archive.comment
                yield from map(archive.read, archive.namelist())
        if file.suffix == ".html":
            for packed in re.findall(rb'"z":"([^"]*)"', data):
                yield unpack_bytes({"z": packed})
        if file.suffix == ".cast":
            shown = "".join(json.loads(line)[2] for line in data.splitlines()[1:])
            yield re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).encode()
        if file.suffix == ".gz":
            yield gzip.decompress(data)


@pytest.mark.parametrize("to", FORMATS)
def test_no_format_holds_a_text_of_the_run(spiced, tmp_path, to) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow")
    options = ExportOptions(redact=True)
    if to == "asciicast":
        options = ExportOptions(redact=True, steps="3:6", views="overview,tokens,radix,events")
    output = tmp_path / f"out{'.zip' if to == 'csv' else FORMATS[to].suffix}"
    export_session(spiced, FORMATS[to], output, options)
    texts = [
        *(text for text in TEXTS if "secret" in text),
        STOP,
        "alert(1)",
        "DROP TABLE",
        "cmd()",
        PATH,
        "spiced",
    ]
    for data in everything_in(output):
        said = data.replace(b"\0", b"")
        assert [text for text in texts if text.encode() in said] == []


def test_the_same_search_finds_the_texts_where_nothing_is_redacted(spiced, tmp_path) -> None:
    for to, suffix in (("html", ".html"), ("csv", ".zip"), ("dot", ".dot"), ("sqlite", ".sqlite")):
        export_session(spiced, to, tmp_path / f"out{suffix}")
        assert any(b"secret" in data for data in everything_in(tmp_path / f"out{suffix}")), to


def test_no_page_of_the_copy_holds_what_was_there_before(spiced, redacted) -> None:
    def found_in(path: Path) -> list[str]:
        data = path.read_bytes()
        return [text for text in (*TEXTS, STOP) if "secret" in text and text.encode() in data]

    assert found_in(spiced)
    assert found_in(redacted) == []
    assert not redacted.with_name("redacted.wbs-wal").exists()


def test_code_that_a_session_brings_is_not_run(spiced, tmp_path) -> None:
    copy = tmp_path / "copy.wbs"
    shutil.copyfile(spiced, copy)
    with sqlite3.connect(copy) as connection:
        connection.execute(
            "CREATE TRIGGER keep AFTER UPDATE ON tokens BEGIN"
            " UPDATE requests SET state = old.text WHERE request = old.request; END"
        )
    redact(copy)
    with Session.open(copy) as session:
        assert {row.state for row in session.requests()} == {"FINISHED"}


def test_structure_and_numbers_stay(spiced, redacted) -> None:
    with Session.open(spiced) as before, Session.open(redacted) as after:
        assert after.redacted
        assert not before.redacted
        assert after.header.model_path == MARK * len(before.header.model_path)
        for row, hidden in zip(before.requests(), after.requests(), strict=True):
            name = row.request
            assert (hidden.state, hidden.prompt_tokens, hidden.finished_step) == (
                row.state, row.prompt_tokens, row.finished_step,
            )  # fmt: skip
            assert len(hidden.output_text) == len(row.output_text)
            assert set(hidden.output_text) <= {MARK}
            assert len(after.prompt_text(name)) == len(before.prompt_text(name))
            assert after.request_phases(name) == before.request_phases(name)
            for token, other in zip(before.tokens(name), after.tokens(name), strict=True):
                assert other.text == MARK * len(token.text)
                assert after.token_text(other.token) == MARK * len(before.token_text(token.token))
                assert (other.logprob, other.draw, other.rank) == (token.logprob, token.draw, token.rank)
                assert other.logits_hash is None


def test_events_still_fold_to_the_same_blocks_and_tree(tmp_path) -> None:
    record_demo(tmp_path / "demo.wbs")
    shutil.copyfile(tmp_path / "demo.wbs", tmp_path / "redacted.wbs")
    redact(tmp_path / "redacted.wbs")
    with Session.open(tmp_path / "demo.wbs") as before, Session.open(tmp_path / "redacted.wbs") as after:
        for step in range(before.last_step() + 1):
            one, other = before.state_at(step), after.state_at(step)
            assert one.blocks.ref_count == other.blocks.ref_count
            assert one.blocks.node == other.blocks.node
            assert {n: node.blocks for n, node in one.tree.nodes.items()} == {
                n: node.blocks for n, node in other.tree.nodes.items()
            }
            other.check_invariants()


def test_an_exported_log_folds_by_itself(tmp_path) -> None:
    record_demo(tmp_path / "demo.wbs")
    export_session(tmp_path / "demo.wbs", "jsonl", tmp_path / "out.jsonl", ExportOptions(redact=True))
    first, *lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert json.loads(first)["excerpt"]["redacted"] is True
    state = State(DEMO_HEADER.num_blocks, DEMO_HEADER.options.block_size)
    state.apply_all([ev.decode(line) for line in lines])
    state.check_invariants()


def test_candidates_stay_apart_and_the_chosen_one_is_among_them(spiced, redacted) -> None:
    with Session.open(spiced) as before, Session.open(redacted) as after:
        for row in before.requests():
            for token in before.tokens(row.request):
                one = before.details(row.request, token.position)
                other = after.details(row.request, token.position)
                assert len(set(other.candidates.ids)) == len(other.candidates)
                assert one.candidates.ids.index(one.token) == other.candidates.ids.index(other.token)
                assert one.candidates.raw == other.candidates.raw
                assert other.logits_hash == 0


def test_the_reason_why_a_match_ended_still_names_two_different_tokens(tmp_path) -> None:
    about = header(32, block_size=4)
    writer = writer_on(tmp_path / "run.wbs", about)
    engine = engine_on(writer, about)
    for prompt in (range(12), [0, 1, 2, 3, 4, 5, 9, 9, 9]):
        engine.submit(spec(prompt, 2))
        engine.run()
    writer.close()
    redact(tmp_path / "run.wbs")
    with Session.open(tmp_path / "run.wbs") as session:
        matched = [row.event for row in session.events() if isinstance(row.event, ev.PrefixMatched)]
        diverged = [(each.request, each.end) for each in matched if each.end.__struct_config__.tag == "diverged"]
        assert diverged
        for request, end in diverged:
            assert end.wanted != end.cached
            assert session.prompt_ids(request)[end.position] == end.wanted


def test_tensors_that_could_be_read_as_text_are_left_out(spiced, tmp_path) -> None:
    left_out = export_session(spiced, "safetensors", tmp_path / "a.safetensors", ExportOptions(redact=True))
    assert any("turned into text" in line for line in left_out)
    pages = [
        export_session(spiced, "html", tmp_path / f"{redact}.html", ExportOptions(redact=redact))
        for redact in (False, True)
    ]
    assert "captured logits and residuals: `--to safetensors` has them" in pages[0]
    assert "captured logits and residuals: they can be turned into text again" in pages[1]
    header = json.loads((tmp_path / "a.safetensors").read_bytes()[8:].split(b"}}", 1)[0].decode() + "}}")
    assert {name.split("/")[2] for name in header if name != "__metadata__"} == {"attn_pattern"}


def test_what_nobody_thought_of_is_hidden() -> None:
    fields = {"type": "novelty", "step": 4, "note": "secret", "ids": [7, 8], "deep": {"secret": 1}, "on": True}
    hidden = hide(fields)
    assert hidden == {"type": "novelty", "step": 4, "note": MARK * 6, "ids": [0, 0], "deep": {}, "on": True}


def test_a_damaged_session_is_refused_in_one_line(spiced, tmp_path) -> None:
    shutil.copyfile(spiced, tmp_path / "bad.wbs")
    with sqlite3.connect(tmp_path / "bad.wbs") as connection:
        connection.execute('UPDATE events SET data = \'{"type":"token"}\' WHERE seq = 3')
    with pytest.raises(SessionError, match="cannot be redacted") as refused:
        export_session(tmp_path / "bad.wbs", "jsonl", tmp_path / "out.jsonl", ExportOptions(redact=True))
    assert "\n" not in str(refused.value)


sequences = st.lists(st.lists(st.integers(0, 3), max_size=8), min_size=2, max_size=6)


@given(sequences)
def test_pseudonyms_are_equal_exactly_as_far_as_the_tokens_are(requests: list[list[int]]) -> None:
    histories = Histories()
    paths = []
    for tokens in requests:
        path = TokenPath(histories)
        path.extend(tokens, 0)
        paths.append([pseudonym(path.number(position), 3) for position in range(len(path))])
    for one, hidden_one in zip(requests, paths, strict=True):
        for other, hidden_other in zip(requests, paths, strict=True):
            assert common(one, other) == common(hidden_one, hidden_other)
        assert all(each % LENGTHS == 3 for each in hidden_one)


def test_a_token_has_another_pseudonym_wherever_it_occurs() -> None:
    path = TokenPath(Histories())
    path.extend([5, 5, 9, 5], 0)
    other = TokenPath(Histories())
    other.extend([1, 2, 3, 4], 0)
    assert [path.number(position) for position in range(4)] == [other.number(position) for position in range(4)]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def test_the_page_shows_marks(spiced, tmp_path) -> None:
    export_session(spiced, "html", tmp_path / "a.html", ExportOptions(redact=True))
    data = json.loads(re.search(rb'id="data">(.*?)</script>', (tmp_path / "a.html").read_bytes(), re.DOTALL)[1])
    assert data["about"]["redacted"] is True
    assert set("".join(data["texts"])) == {MARK}
    assert unpack(data["requests"][0]["tokens"])


prompts = st.lists(
    st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=9), st.integers(1, 6), st.sampled_from([1, 1, 2])),
    min_size=1,
    max_size=4,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts, st.integers(5, 20))
def test_any_run_keeps_its_blocks_and_shared_prefixes_and_nothing_else(tmp_path, batch, budget) -> None:
    path, copy = tmp_path / "run.wbs", tmp_path / "copy.wbs"
    path.unlink(missing_ok=True)
    about = header(24, block_size=2, token_budget=budget)
    writer = writer_on(path, about)
    engine = engine_on(writer, about)
    for prompt, count, samples in batch:
        engine.submit(spec(prompt, count, samples))
        engine.run(2)
    engine.run()
    writer.close()
    shutil.copyfile(path, copy)
    redact(copy)
    with Session.open(path) as before, Session.open(copy) as after:
        for step in range(before.last_step() + 1):
            one, other = before.state_at(step), after.state_at(step)
            assert (one.blocks.ref_count, one.blocks.node) == (other.blocks.ref_count, other.blocks.node)
        names = [row.request for row in before.requests()]
        for name in names:
            for twin in names:
                assert common(before.tokens_of(name), before.tokens_of(twin)) == common(
                    after.tokens_of(name), after.tokens_of(twin)
                )
