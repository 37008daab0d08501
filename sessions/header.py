"""What a session says about the run it holds: the first thing a reader needs."""

from __future__ import annotations

import sqlite3
from typing import Annotated

import msgspec

from engine.params import EngineOptions
from sessions.compression import compress, decompress
from sessions.errors import SessionError
from sessions.schema import SCHEMA_VERSION
from sessions.tables import fetch, fetch_value

TOKENIZER = "tokenizer.json"
MAX_TOKENIZER_BYTES = 1 << 26

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]


class ModelShape(msgspec.Struct, frozen=True):
    """Sizes of the model, for readers that do not have it. `linear_kernel` is `packed` or `plain`."""

    layers: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    vocab_size: Count
    max_context: Count
    kv_bytes_per_token: Count
    linear_kernel: str


class PluginUsed(msgspec.Struct, frozen=True):
    """A plugin of the run: the distribution it was installed with, or `file` and the SHA-256 of that."""

    name: str
    version: str
    arguments: str = ""
    source: str = ""
    sha256: str = ""


class AdapterUsed(msgspec.Struct, frozen=True):
    """An adapter of the run by the name that requests give; `sha256` is that of its config and its weights."""

    name: str
    folder: str
    merged: bool
    sha256: str


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The run: who made it, on which model, with which options. `created` is UTC, ISO 8601.

    `machine` is its architecture and processor; "" where that was not recorded. `kv_policy` says what requests go
    without, so that output may differ from that with the whole cache; "" where nothing is dropped.
    """

    schema_version: int = SCHEMA_VERSION
    created: str
    tool_version: str
    python_version: str
    torch_version: str
    transformers_version: str
    model_path: str
    model_name: str
    config_sha256: str
    weights_sha256: str
    tokenizer_hash: str
    dtype: str
    device: str
    options: EngineOptions
    num_blocks: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
    shape: ModelShape
    eos_ids: tuple[int, ...] = ()
    machine: str = ""
    plugins: tuple[PluginUsed, ...] = ()
    kv_policy: str = ""
    adapters: tuple[AdapterUsed, ...] = ()


def write_header(connection: sqlite3.Connection, header: Header, tokenizer_json: bytes | None) -> None:
    """Store `header`, one row a field, and the model's `tokenizer.json`, compressed."""
    rows = [(name, msgspec.json.encode(getattr(header, name)).decode()) for name in header.__struct_fields__]
    connection.executemany("INSERT INTO header VALUES (?, ?)", rows)
    if tokenizer_json is not None:
        connection.execute("INSERT INTO attachments VALUES (?, ?)", (TOKENIZER, compress(tokenizer_json)))


def read_header(connection: sqlite3.Connection) -> Header:
    """The header of an open session. Raises SessionError where it is missing or makes no sense."""
    rows = fetch(connection, "SELECT name, value FROM header")
    try:
        fields = {name: msgspec.json.decode(value) for name, value in rows}
        return msgspec.convert(fields, Header)
    except (msgspec.DecodeError, TypeError) as error:
        raise SessionError(f"its header cannot be read: {error}") from error


def read_tokenizer(connection: sqlite3.Connection) -> bytes | None:
    """The stored `tokenizer.json`, None where the session has none. Raises SessionError where damaged."""
    data = fetch_value(connection, "SELECT data FROM attachments WHERE name = ?", TOKENIZER)
    try:
        return None if data is None else decompress(data, MAX_TOKENIZER_BYTES)
    except (TypeError, ValueError) as error:
        raise SessionError(f"the tokenizer in the session cannot be read: {error}") from error
