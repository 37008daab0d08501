"""The document of the session file names every column, and its queries run."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sessions import schema
from sessions.functions import CANDIDATE_COLUMNS
from sessions.keyframes import MAX_EVENTS
from sessions.reader import Session
from tests.recorded import record_demo

DOCUMENT = (Path(__file__).parent.parent / "docs" / "session-format.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.S)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    path = tmp_path_factory.mktemp("session") / "demo.wbs"
    record_demo(path)
    with Session.open(path) as opened:
        yield opened


@pytest.mark.parametrize("table", sorted(schema.TABLES))
def test_every_column_is_documented_in_order(session, table) -> None:
    text = DOCUMENT.split(f"### `{table}`\n")[1].split("\n## ")[0].split("\n### ")[0]
    documented = re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.M)
    columns = [(row[1], row[2].lower()) for row in session._connection.execute(f"PRAGMA table_info({table})")]
    assert documented == columns


def test_there_are_five_queries() -> None:
    assert len(QUERIES) == 5


@pytest.mark.parametrize("sql", QUERIES)
def test_the_queries_of_the_document_have_answers(session, sql) -> None:
    answer = session.query(sql)
    rows = list(answer.rows)
    assert answer.columns
    if "rank" not in sql or "LIMIT" in sql:  # greedy runs choose the likeliest
        assert rows


@pytest.mark.parametrize("sql", [sql for sql in QUERIES if "candidates" not in sql])
def test_queries_on_plain_tables_need_nothing_of_ours(session, sql) -> None:
    with closing(sqlite3.connect(session.path)) as connection:
        assert connection.execute(sql).fetchall()


def test_the_numbers_it_gives_are_those_of_the_code() -> None:
    assert f"Schema version {schema.SCHEMA_VERSION} " in DOCUMENT
    assert f"0x{schema.APPLICATION_ID:X}" in DOCUMENT
    assert f"no more than {MAX_EVENTS:,} events" in DOCUMENT
    plain = DOCUMENT.split("## Which tables are plain")[1].split("hold numbers")[0]
    assert tuple(re.findall(r"`(\w+)`", plain)) == schema.PLAIN_TABLES
    view = DOCUMENT.split("The view `candidates` has")[1].split("### ")[0]
    assert all(f"`{name}`" in view for name in CANDIDATE_COLUMNS)
