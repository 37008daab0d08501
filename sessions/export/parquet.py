"""A Parquet file a table, in a folder or a zip: the tables that `--to sqlite` has, in columns.

Integers are int64, reals float64, text is dictionary-encoded; null is null. Each file's metadata holds the
header under `workbench.header` and the part of the session under `workbench.excerpt`, as JSON.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from sessions.errors import SessionError
from sessions.export.csv import MADE, about_comment
from sessions.export.excerpt import Excerpt
from sessions.export.output import Progress
from sessions.export.plain import Relation, all_relations, leave_out_packed
from sessions.export.sqlite import chunks

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP: Final = 65_536
MISSING: Final = "parquet needs pyarrow, which is not installed: pip install 'llm-workbench[parquet]'"


def write(excerpt: Excerpt, stream: BinaryIO, progress: Progress) -> None:
    """Write a zip of the files, which are compressed already."""
    _need_pyarrow()
    relations = _relations(excerpt)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = about_comment(excerpt)
        for done, relation in enumerate(relations, 1):
            entry = zipfile.ZipInfo(f"{relation.name}.parquet", MADE)
            with archive.open(entry, "w", force_zip64=True) as file:
                _write_table(relation, file)
            progress(done, len(relations))


def write_folder(excerpt: Excerpt, folder: Path, progress: Progress) -> None:
    """Write the files into an empty folder."""
    _need_pyarrow()
    relations = _relations(excerpt)
    for done, relation in enumerate(relations, 1):
        with (folder / f"{relation.name}.parquet").open("wb") as file:
            _write_table(relation, file)
        progress(done, len(relations))


def _relations(excerpt: Excerpt) -> list[Relation]:
    leave_out_packed(excerpt)
    return all_relations(excerpt)


def _need_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise SessionError(MISSING) from None


def _write_table(relation: Relation, file: Any) -> None:
    import pyarrow as pa

    with _writer(relation, file) as writer:
        for chunk in chunks(relation.rows(), ROW_GROUP):
            columns = zip(*chunk, strict=True)
            arrays = [pa.array(values, field.type) for values, field in zip(columns, writer.schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=writer.schema))


@contextmanager
def _writer(relation: Relation, file: Any) -> Iterator[Any]:
    import pyarrow.parquet as pq

    writer = pq.ParquetWriter(file, _schema(relation), compression="zstd")
    with writer:
        yield writer


def _schema(relation: Relation) -> pa.Schema:
    import pyarrow as pa

    types = {"INTEGER": pa.int64(), "REAL": pa.float64(), "TEXT": pa.string()}
    header, about = relation.excerpt.session.header, relation.excerpt.about
    metadata = {"workbench.header": msgspec.json.encode(header), "workbench.excerpt": msgspec.json.encode(about)}
    return pa.schema([(column.name, types[column.kind]) for column in relation.columns], metadata)
