"""Files that are no session, and places that cannot be written: one clear line, or a copy."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from engine import keyframe
from sessions.compression import compress, decompress
from sessions.errors import SessionError
from sessions.reader import EventFilter, Session
from sessions.schema import SCHEMA_VERSION, TABLES
from tests.recorded import DEMO_HEADER, engine_on, record_demo, writer_on
from tests.scripted import spec


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session") / "demo.wbs"
    record_demo(path, keyframe_every=50)
    return path


@pytest.fixture
def session(recorded, tmp_path) -> Path:
    return Path(shutil.copy(recorded, tmp_path / "demo.wbs"))


def change(path: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql, values)
        connection.commit()


def refusal(path: Path, ask: Callable[[Session], object] = lambda session: None) -> str:
    """The one line with which a session, or a question to it, is refused."""
    with pytest.raises(SessionError) as refused, Session.open(path) as session:
        ask(session)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_missing_file(tmp_path) -> None:
    assert refusal(tmp_path / "none.wbs").endswith("none.wbs does not exist")


def test_a_folder(tmp_path) -> None:
    assert "cannot be read: Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize(("content", "message"), [(b"", "it is empty"), (b"SQL injection", "no SQLite file")])
def test_a_file_that_is_not_sqlite(tmp_path, content, message) -> None:
    (tmp_path / "x.wbs").write_bytes(content)
    assert message in refusal(tmp_path / "x.wbs")


def test_a_database_of_something_else(tmp_path) -> None:
    change(tmp_path / "x.wbs", "CREATE TABLE t (a)")
    assert "an SQLite file of something else" in refusal(tmp_path / "x.wbs")


def test_a_newer_version(session) -> None:
    change(session, "PRAGMA user_version = 99")
    assert f"made by a newer version (schema 99; this one reads up to {SCHEMA_VERSION})" in refusal(session)


def test_no_header(session) -> None:
    change(session, "DELETE FROM header WHERE name = 'options'")
    assert "header cannot be read" in refusal(session)
    change(session, "DROP TABLE header")
    assert "has no table header" in refusal(session)


def test_a_header_that_asks_for_too_much_memory(session) -> None:
    change(session, "UPDATE header SET value = '1099511627776' WHERE name = 'num_blocks'")
    assert "header cannot be read" in refusal(session)


@pytest.mark.parametrize("kept", [50, 5_000, 100_000])
def test_a_truncated_file(session, kept) -> None:
    os.truncate(session, kept)
    assert "truncated" in refusal(session)


def test_a_damaged_page_of_the_database(session) -> None:
    data = bytearray(session.read_bytes())
    data[2 * 4096 :] = os.urandom(len(data) - 2 * 4096)
    session.write_bytes(data)
    assert "demo.wbs" in refusal(session, lambda opened: opened.requests())


@pytest.mark.parametrize("data", [b"nonsense", compress(b"not what the hash says")])
def test_a_damaged_keyframe(session, data) -> None:
    change(session, "UPDATE pages SET data = ?", data)
    message = refusal(session, lambda opened: opened.state_at(opened.last_step()))
    assert "the keyframe at event" in message
    assert "is damaged" in message


def test_a_missing_page_of_a_keyframe(session) -> None:
    change(session, "DELETE FROM pages")
    assert "is missing" in refusal(session, lambda opened: opened.state_at(opened.last_step()))


def test_events_that_do_not_fit(session) -> None:
    change(session, "DELETE FROM keyframes")
    change(session, 'UPDATE events SET data = replace(data, \'"request":"1"\', \'"request":"77"\')')
    assert "does not fit the state before it" in refusal(session, lambda opened: opened.state_at(5))


def test_damaged_candidates(session) -> None:
    change(session, "UPDATE candidate_rows SET data = substr(data, 1, 100)")
    assert "token details are damaged" in refusal(session, lambda opened: opened.details("1", 12))


def test_a_compressed_block_larger_than_it_may_be() -> None:
    with pytest.raises(ValueError, match="at most 10 are read"):
        decompress(compress(bytes(11)), max_bytes=10)
    keyframe_pages = keyframe.PAGE * 8
    assert decompress(compress(bytes(keyframe_pages))) == bytes(keyframe_pages)


def test_unknown_requests_events_and_branches(session) -> None:
    assert "has no request 99" in refusal(session, lambda opened: opened.request("99"))
    assert "has no event 0" in refusal(session, lambda opened: opened.event(0))
    assert "there is no branch 7" in refusal(session, lambda opened: opened.state_at(1, branch=7))


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM events",
        "ATTACH '/tmp/other.db' AS other",
        "SELECT 1; SELECT 2",
        "PRAGMA writable_schema = 1",
        "CREATE TEMP TABLE t (a)",
        "SELEC 1",
        "SELECT load_extension('x')",
    ],
)
def test_only_one_select_is_answered(session, sql) -> None:
    assert "the query cannot be answered" in refusal(session, lambda opened: list(opened.query(sql).rows))


@pytest.mark.parametrize("cut_off", [False, True], ids=["closed", "with a log"])
def test_a_session_in_a_folder_that_cannot_be_written(cut_off) -> None:
    """Read by a user without rights, since nothing is read-only to an administrator."""
    code = (
        "import os, sys; from sessions.reader import Session; os.getuid() or os.setuid(65534);"
        "s = Session.open(sys.argv[1]);"
        "print(s.last_step(), len(s.state_at(4).requests), len(s.tokens('1'))); s.close()"
    )
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "run.wbs"
        writer = writer_on(path, DEMO_HEADER)
        engine = engine_on(writer, DEMO_HEADER)
        engine.submit(spec(range(9), 6))
        engine.run(4)
        if not cut_off:
            writer.close()
        path.parent.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
        path.parent.chmod(0o755)
        assert (done.stdout.split(), done.stderr) == (["4", "1", "4"], "")
        assert path.with_name("run.wbs-wal").exists() == cut_off
        if cut_off:
            writer.close()


def everything(session: Session) -> None:
    """Ask all there is to ask."""
    last = session.last_step()
    for step in range(last, -1, -3):
        session.state_at(step)
        session.decisions(step)
        session.step_row(step)
        session.block_changes(step)
    session.events(EventFilter(text="token")).scan_all().rows(0, 1_000)
    for request in session.requests():
        session.request_phases(request.request)
        session.tokens_of(request.request)
        session.details(request.request, request.prompt_tokens)
    for block in range(DEMO_HEADER.num_blocks):
        session.block_history(block)
    for table in TABLES:
        list(session.query(f"SELECT * FROM {table}").rows)
    list(session.query("SELECT * FROM candidates").rows)


def test_damage_anywhere_is_an_error_of_one_line_or_no_matter(session) -> None:
    whole = session.read_bytes()
    rng = random.Random(0)
    refusals = []
    for _ in range(30):
        data = bytearray(whole)
        at = rng.randrange(100, len(data) - 40)
        data[at : at + 40] = rng.randbytes(40)
        session.write_bytes(data)
        try:
            with Session.open(session) as opened:
                everything(opened)
        except SessionError as error:
            refusals.append(str(error))
    assert len(refusals) > 5
    assert not any("\n" in line for line in refusals)
