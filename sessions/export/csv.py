"""The plain tables as CSV: a zip with one file a table, whose first line names the columns.

UTF-8, comma-separated, quoted as in RFC 4180; an empty field is NULL. Text is as the model wrote it.
"""

from __future__ import annotations

import csv
import io
import zipfile
from contextlib import closing
from typing import BinaryIO, Final

from sessions.export.output import Progress
from sessions.reader import Session
from sessions.schema import PLAIN_TABLES

REPORT_ROWS: Final = 5_000
_MADE: Final = (1980, 1, 1, 0, 0, 0)  # the same session gives the same bytes


def write_csv(session: Session, stream: BinaryIO, progress: Progress) -> None:
    """Write every plain table."""
    total = sum(session.count_rows(table) for table in PLAIN_TABLES)
    done = 0
    with zipfile.ZipFile(stream, "w") as archive:
        for table in PLAIN_TABLES:
            entry = zipfile.ZipInfo(f"{table}.csv", _MADE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as packed:
                text = io.TextIOWrapper(packed, encoding="utf-8", newline="")
                done = _write_table(session, table, text, progress, done, total)
                text.flush()
                text.detach()


def _write_table(
    session: Session, table: str, text: io.TextIOWrapper, progress: Progress, done: int, total: int
) -> int:
    writer = csv.writer(text, lineterminator="\r\n")
    answer = session.query(f"SELECT * FROM {table}")
    writer.writerow(answer.columns)
    with closing(answer.rows):
        for row in answer.rows:
            writer.writerow(row)
            done += 1
            if done % REPORT_ROWS == 0:
                progress(done, max(done, total))
    progress(done, max(done, total))
    return done
