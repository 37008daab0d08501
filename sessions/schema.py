"""The tables of a session file. What every column means, with units: `docs/session-format.md`.

*Plain* tables hold numbers and text that any SQLite tool reads; the others hold packed bytes.
"""

from __future__ import annotations

import sqlite3
from typing import Final

SCHEMA_VERSION: Final = 3
APPLICATION_ID: Final = 0x57424E48  # "WBNH"

PLAIN_TABLES: Final = (
    "branches", "events", "steps", "requests", "phases", "tokens", "decisions", "blocks",
)  # fmt: skip
PACKED_TABLES: Final = ("header", "attachments", "prompts", "candidate_rows", "tensors", "keyframes", "pages")

TABLES: Final = frozenset(PLAIN_TABLES + PACKED_TABLES)

DDL: Final = """
CREATE TABLE header (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE attachments (name TEXT PRIMARY KEY, data BLOB NOT NULL);

CREATE TABLE branches (
    branch INTEGER PRIMARY KEY, parent INTEGER, parent_step INTEGER, cause TEXT NOT NULL
);

CREATE TABLE events (
    seq INTEGER PRIMARY KEY, branch INTEGER NOT NULL, step INTEGER NOT NULL, type TEXT NOT NULL,
    request TEXT, data TEXT NOT NULL
);

CREATE TABLE steps (
    branch INTEGER NOT NULL, step INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    started_ns INTEGER NOT NULL, plan_ns INTEGER NOT NULL, forward_ns INTEGER NOT NULL,
    sample_ns INTEGER NOT NULL, commit_ns INTEGER NOT NULL,
    tokens INTEGER NOT NULL, prefill_tokens INTEGER NOT NULL, decode_tokens INTEGER NOT NULL,
    budget INTEGER NOT NULL, running INTEGER NOT NULL, waiting INTEGER NOT NULL, preempted INTEGER NOT NULL,
    free_blocks INTEGER NOT NULL, cached_blocks INTEGER NOT NULL, owned_blocks INTEGER NOT NULL,
    submitted INTEGER NOT NULL, finished INTEGER NOT NULL,
    looked_up_tokens INTEGER NOT NULL, hit_tokens INTEGER NOT NULL, evicted_blocks INTEGER NOT NULL,
    preemptions INTEGER NOT NULL, computed_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    notable INTEGER NOT NULL, error TEXT, batch TEXT NOT NULL,
    PRIMARY KEY (branch, step)
);
CREATE INDEX notable_steps ON steps (branch, step) WHERE notable;

CREATE TABLE requests (
    branch INTEGER NOT NULL, request TEXT NOT NULL, arrival INTEGER NOT NULL, priority INTEGER NOT NULL,
    sample INTEGER NOT NULL, samples INTEGER NOT NULL, leader TEXT, params TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    preemptions INTEGER NOT NULL, state TEXT NOT NULL, submitted_step INTEGER NOT NULL,
    admitted_step INTEGER, first_token_step INTEGER, finished_step INTEGER,
    finish_reason TEXT, finish_detail TEXT, message TEXT NOT NULL, output_text TEXT,
    parent TEXT, at_position INTEGER, change TEXT,
    PRIMARY KEY (branch, request)
);
CREATE INDEX requests_by_arrival ON requests (branch, arrival);
CREATE INDEX forks ON requests (branch, arrival) WHERE parent IS NOT NULL;

CREATE TABLE prompts (
    branch INTEGER NOT NULL, request TEXT NOT NULL, ids BLOB NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (branch, request)
);

CREATE TABLE phases (
    branch INTEGER NOT NULL, request TEXT NOT NULL, number INTEGER NOT NULL, phase TEXT NOT NULL,
    first_step INTEGER NOT NULL, last_step INTEGER, tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    PRIMARY KEY (branch, request, number)
) WITHOUT ROWID;

CREATE TABLE tokens (
    branch INTEGER NOT NULL, request TEXT NOT NULL, position INTEGER NOT NULL, token INTEGER NOT NULL,
    text TEXT NOT NULL, chosen_step INTEGER NOT NULL, computed_step INTEGER,
    raw_logprob REAL, logprob REAL, rank INTEGER, entropy REAL, varentropy REAL,
    draw REAL, low REAL, high REAL, margin REAL, near_tie INTEGER, logits_hash INTEGER,
    PRIMARY KEY (branch, request, position)
) WITHOUT ROWID;

CREATE TABLE candidate_rows (
    branch INTEGER NOT NULL, step INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (branch, step)
);

CREATE TABLE decisions (
    seq INTEGER PRIMARY KEY, branch INTEGER NOT NULL, step INTEGER NOT NULL, request TEXT,
    type TEXT NOT NULL, code TEXT NOT NULL, numbers TEXT NOT NULL
);

CREATE TABLE blocks (
    branch INTEGER NOT NULL, block INTEGER NOT NULL, seq INTEGER NOT NULL, step INTEGER NOT NULL,
    change TEXT NOT NULL, request TEXT, block_index INTEGER NOT NULL, ref_count INTEGER NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (branch, block, seq)
) WITHOUT ROWID;
CREATE INDEX blocks_of_step ON blocks (branch, step);

CREATE TABLE tensors (
    id INTEGER PRIMARY KEY, branch INTEGER NOT NULL, step INTEGER NOT NULL, request TEXT, layer INTEGER,
    stage TEXT NOT NULL, start INTEGER NOT NULL, dtype TEXT NOT NULL, shape TEXT NOT NULL, data BLOB NOT NULL
);
CREATE INDEX tensors_of_step ON tensors (branch, step);

CREATE TABLE keyframes (
    branch INTEGER NOT NULL, seq INTEGER NOT NULL, step INTEGER NOT NULL, columns BLOB NOT NULL,
    PRIMARY KEY (branch, seq)
);

CREATE TABLE pages (id INTEGER PRIMARY KEY, hash BLOB NOT NULL, data BLOB NOT NULL);
"""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty session; leaves the transaction open for its header."""
    connection.executescript(f"BEGIN; {DDL}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("INSERT INTO branches VALUES (0, NULL, NULL, 'start')")
