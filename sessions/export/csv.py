"""The plain tables as CSV: a zip with one file a table, whose first line names the columns.

UTF-8, comma-separated, quoted as in RFC 4180; an empty field is NULL. Text is as the model wrote it. What part
of the session it is stands in the comment of the zip, as JSON.
"""

from __future__ import annotations

import csv
import io
import zipfile
from typing import BinaryIO, Final

import msgspec

from sessions.export.excerpt import Excerpt
from sessions.export.output import Progress
from sessions.export.plain import Relation, count_rows, leave_out_packed, plain_relations
from sessions.schema import PLAIN_TABLES

REPORT_ROWS: Final = 5_000
MADE: Final = (1980, 1, 1, 0, 0, 0)  # the same session gives the same bytes


def write(excerpt: Excerpt, stream: BinaryIO, progress: Progress) -> None:
    """Write every plain table."""
    leave_out_packed(excerpt, "candidates and tokens of prompts")
    total = sum(count_rows(excerpt, table) for table in PLAIN_TABLES)
    done = 0
    with zipfile.ZipFile(stream, "w") as archive:
        archive.comment = about_comment(excerpt)
        for relation in plain_relations(excerpt):
            entry = zipfile.ZipInfo(f"{relation.name}.csv", MADE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as packed:
                text = io.TextIOWrapper(packed, encoding="utf-8", newline="")
                done = _write_table(relation, text, progress, done, total)
                text.flush()
                text.detach()


def about_comment(excerpt: Excerpt) -> bytes:
    """What part of the session a zip holds, as JSON; nothing where that is longer than a comment may be."""
    comment = msgspec.json.encode(excerpt.about)
    return comment if len(comment) <= zipfile.ZIP_MAX_COMMENT else b""


def _write_table(relation: Relation, text: io.TextIOWrapper, progress: Progress, done: int, total: int) -> int:
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(column.name for column in relation.columns)
    for row in relation.rows():
        writer.writerow(row)
        done += 1
        if done % REPORT_ROWS == 0:
            progress(done, max(done, total))
    progress(done, max(done, total))
    return done
