"""SQL functions and views that a reader's connection adds, so that packed rows can be queried."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

import msgspec

from engine.details import TRANSFORMS, TokenDetails, unpack_step
from sessions.records import unpack_ids

CANDIDATE_COLUMNS: Final = (
    "request", "position", "place", "token", "raw", *TRANSFORMS, "prob", "removed_by", "number",
)  # fmt: skip

CANDIDATES_VIEW: Final = f"""
CREATE TEMP VIEW candidates AS
SELECT packed.branch, packed.step,
       {", ".join(f"json_extract(row.value, '$.{name}') AS {name}" for name in CANDIDATE_COLUMNS)},
       token_text(json_extract(row.value, '$.token')) AS text
FROM main.candidate_rows AS packed, json_each(candidates_json(packed.data)) AS row
"""

TextOf = Callable[[int], str]


def add_functions(connection: sqlite3.Connection, text_of: TextOf) -> None:
    """Register `candidates_json`, `ids_json` and `token_text`, and the temporary view `candidates`."""
    connection.create_function("candidates_json", 1, candidates_json, deterministic=True)
    connection.create_function("ids_json", 1, ids_json, deterministic=True)
    connection.create_function("token_text", 1, text_of, deterministic=True)
    connection.execute(CANDIDATES_VIEW)


def candidates_json(data: bytes) -> str:
    """The candidates of all tokens of a packed step as a JSON array of objects.

    `place` counts from 1 in order of raw logits. A logit that is not finite is null.
    """
    rows = [row for token in unpack_step(data) for row in _candidates(token)]
    return msgspec.json.encode(rows).decode()


def ids_json(data: bytes) -> str:
    """The token ids of a prompt as a JSON array."""
    return msgspec.json.encode(unpack_ids(data).tolist()).decode()


def _candidates(token: TokenDetails) -> list[dict[str, object]]:
    columns = token.candidates
    values = dict(zip(token.transforms, columns.values, strict=True))
    return [
        {
            "request": token.request, "position": token.position, "place": place + 1,
            "token": columns.ids[place], "raw": columns.raw[place], "prob": columns.prob[place],
            "removed_by": columns.removing_stage(place), "number": _number(token, place),
        }
        | {stage: values[stage][place] for stage in TRANSFORMS if stage in values}
        for place in range(len(columns))
    ]  # fmt: skip


def _number(token: TokenDetails, place: int) -> float | None:
    return token.candidates.number[place] if token.candidates.removed_by[place] else None
