"""Tables for other tools hold the rows of the session: read back with what those tools read with."""

from __future__ import annotations

import json
import math
import sqlite3
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sessions.errors import SessionError
from sessions.export import ExportOptions, export_session
from sessions.reader import Session
from sessions.schema import PLAIN_TABLES
from tests.exported import record_spiced

EXTRA = ("candidates", "prompt_tokens")


@pytest.fixture(scope="module")
def spiced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_spiced(tmp_path_factory.mktemp("tables") / "spiced.wbs")


def rows_of_session(session: Session, table: str) -> list[tuple[Any, ...]]:
    return list(session.query(f"SELECT * FROM {table}").rows)


def sqlite_rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as connection:
        return connection.execute(sql).fetchall()


def column_of(path: Path, column: str, table: str) -> set[Any]:
    return {value for (value,) in sqlite_rows(path, f"SELECT {column} FROM {table}")}


def test_sqlite_holds_every_plain_row_and_needs_nothing_of_ours(spiced, tmp_path) -> None:
    export_session(spiced, "sqlite", tmp_path / "a.sqlite")
    tables = {
        name
        for (name,) in sqlite_rows(tmp_path / "a.sqlite", "SELECT name FROM sqlite_master WHERE type='table'")
    }
    assert tables == {*PLAIN_TABLES, *EXTRA, "export"}
    with Session.open(spiced) as session:
        for table in PLAIN_TABLES:
            found = sqlite_rows(tmp_path / "a.sqlite", f"SELECT * FROM {table}")
            assert sorted(found, key=repr) == sorted(rows_of_session(session, table), key=repr)


def test_candidates_are_unpacked_as_the_documented_view_says(spiced, tmp_path) -> None:
    export_session(spiced, "sqlite", tmp_path / "a.sqlite")
    columns = "request, position, place, token, raw, temperature, prob, removed_by, number, text"
    order = f"SELECT {columns} FROM candidates ORDER BY request, position, place"
    with Session.open(spiced) as session:
        expected = list(session.query(order).rows)
    found = sqlite_rows(tmp_path / "a.sqlite", order)
    assert len(found) == len(expected) > 1_000
    for one, other in zip(found, expected, strict=True):
        assert all(map(same, one, other)), (one, other)


def same(one: object, other: object) -> bool:
    """Equal, or both numbers that differ by no more than JSON's rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12)
    return one == other


def test_prompts_are_tokens_in_order(spiced, tmp_path) -> None:
    export_session(spiced, "sqlite", tmp_path / "a.sqlite")
    with Session.open(spiced) as session:
        for row in session.requests():
            where = f"WHERE request = '{row.request}' ORDER BY position"
            found = sqlite_rows(tmp_path / "a.sqlite", f"SELECT token, text FROM prompt_tokens {where}")
            assert found == [(token, session.token_text(token)) for token in session.prompt_ids(row.request)]


def test_the_header_and_what_part_it_is_are_in_the_file(spiced, tmp_path) -> None:
    left_out = export_session(spiced, "sqlite", tmp_path / "a.sqlite", ExportOptions(steps="3:5", requests="1,2"))
    about = dict(sqlite_rows(tmp_path / "a.sqlite", "SELECT name, value FROM export"))
    assert json.loads(about["model_name"]) == "scripted"
    excerpt = json.loads(about["excerpt"])
    assert (excerpt["first_step"], excerpt["last_step"], excerpt["requests"]) == (3, 5, ["1", "2"])
    assert excerpt["left_out"] == list(left_out)
    assert any("tensors" in line for line in left_out)


def test_steps_and_requests_select_rows(spiced, tmp_path) -> None:
    export_session(spiced, "sqlite", tmp_path / "a.sqlite", ExportOptions(steps="3:5", requests="1,2"))
    for table, column in (
        ("steps", "step"),
        ("events", "step"),
        ("tokens", "chosen_step"),
        ("candidates", "step"),
    ):
        found = {step for (step,) in sqlite_rows(tmp_path / "a.sqlite", f"SELECT {column} FROM {table}")}
        assert found == {3, 4, 5}, table
    for table in ("tokens", "requests", "phases", "candidates", "prompt_tokens"):
        assert {name for (name,) in sqlite_rows(tmp_path / "a.sqlite", f"SELECT request FROM {table}")} == {
            "1",
            "2",
        }
    assert sqlite_rows(tmp_path / "a.sqlite", "SELECT 1 FROM events WHERE request IS NULL")


def test_the_same_session_gives_the_same_bytes(spiced, tmp_path) -> None:
    for to, name in (("sqlite", "a.sqlite"), ("csv", "a.zip"), ("html", "a.html"), ("dot", "a.dot")):
        export_session(spiced, to, tmp_path / name)
        export_session(spiced, to, tmp_path / f"again-{name}")
        assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes(), to


def test_parquet_files_hold_the_same_tables(spiced, tmp_path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export_session(spiced, "parquet", tmp_path / "tables")
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == {*PLAIN_TABLES, *EXTRA}
    with Session.open(spiced) as session:
        for table in PLAIN_TABLES:
            read = parquet.read_table(tmp_path / "tables" / f"{table}.parquet")
            expected = session.query(f"SELECT * FROM {table}")
            assert tuple(read.column_names) == expected.columns
            found = [tuple(row.values()) for row in read.to_pylist()]
            assert sorted(found, key=repr) == sorted(expected.rows, key=repr)
            assert json.loads(read.schema.metadata[b"workbench.header"])["model_name"] == "scripted"
    tokens = parquet.read_table(tmp_path / "tables" / "tokens.parquet").schema
    assert [str(tokens.field(name).type) for name in ("position", "entropy", "text")] == [
        "int64",
        "double",
        "string",
    ]
    file = parquet.ParquetFile(tmp_path / "tables" / "tokens.parquet")
    text = file.metadata.row_group(0).column(file.schema_arrow.get_field_index("text"))
    assert any("DICTIONARY" in encoding for encoding in text.encodings)


def test_parquet_in_a_zip_is_the_same(spiced, tmp_path) -> None:
    pytest.importorskip("pyarrow")
    export_session(spiced, "parquet", tmp_path / "tables")
    export_session(spiced, "parquet", tmp_path / "tables.zip")
    with zipfile.ZipFile(tmp_path / "tables.zip") as archive:
        for path in (tmp_path / "tables").iterdir():
            assert archive.read(path.name) == path.read_bytes()


def test_a_folder_is_replaced_only_when_it_holds_nothing_else(spiced, tmp_path) -> None:
    pytest.importorskip("pyarrow")
    folder = tmp_path / "tables"
    export_session(spiced, "parquet", folder)
    with pytest.raises(SessionError, match="exists"):
        export_session(spiced, "parquet", folder)
    export_session(spiced, "parquet", folder, force=True)
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(SessionError, match="holds other things"):
        export_session(spiced, "parquet", folder, force=True)
    assert (folder / "thesis.txt").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]


def test_without_pyarrow_one_line_says_what_to_install(spiced, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SessionError, match=r"pip install 'llm-workbench\[parquet\]'") as refused:
        export_session(spiced, "parquet", tmp_path / "tables")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
