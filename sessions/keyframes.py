"""Keyframes: the state as pages that are stored once, however many keyframes they are part of."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import xxhash

from engine import keyframe
from engine.state import State
from sessions.compression import compress, decompress
from sessions.errors import SessionError
from sessions.rows import Rows
from sessions.tables import fetch, fetch_value

MAX_EVENTS: Final = 5_000
"""The most events that are folded to reach any step."""
KEYFRAME_EVERY: Final = 2_500
"""Keyframes are so many events apart, which makes a fold as quick as reading where it starts."""
MAX_PAGE_BYTES: Final = 1 << 28
PAGES_AT_ONCE: Final = 500


class KeyframeWriter:
    """Turns states into rows of `keyframes` and `pages`; a page that was in the previous one is shared."""

    def __init__(self, rows: Rows, pages: int = 0) -> None:
        """Pages are numbered from `pages` on."""
        self._rows = rows
        self._pages: dict[bytes, int] = {}  # of the latest keyframe, by hash
        self._next_page = pages + 1

    def take(self, state: State, seq: int) -> None:
        """Store `state`, which is that after event `seq`."""
        pages: dict[bytes, int] = {}
        columns: dict[str, int] = {}
        for name, data in keyframe.pack(state).items():
            digest = xxhash.xxh3_128_digest(data)
            if digest not in pages:
                pages[digest] = self._pages.get(digest) or self._store(digest, data)
            columns[name] = pages[digest]
        self._pages = pages
        self._rows.add("keyframes", (state.branch, seq, state.step, msgspec.msgpack.encode(columns)))

    def _store(self, digest: bytes, data: bytes) -> int:
        number = self._next_page
        self._next_page += 1
        self._rows.add("pages", (number, digest, compress(data)))
        return number


@dataclass(frozen=True, slots=True)
class Keyframe:
    """Where a keyframe is: its state is that after event `seq` of `branch`."""

    branch: int
    seq: int


def nearest_keyframe(connection: sqlite3.Connection, branch: int, seq: int) -> Keyframe | None:
    """The latest keyframe of `branch` at or before event `seq`."""
    found = fetch_value(connection, "SELECT max(seq) FROM keyframes WHERE branch = ? AND seq <= ?", branch, seq)
    return None if found is None else Keyframe(branch, found)


def read_keyframe(connection: sqlite3.Connection, at: Keyframe) -> State:
    """The state of a keyframe. Raises SessionError where it is damaged."""
    packed = fetch_value(
        connection, "SELECT columns FROM keyframes WHERE branch = ? AND seq = ?", at.branch, at.seq
    )
    try:
        columns = msgspec.msgpack.decode(packed, type=dict[str, int])
        pages = _pages(connection, sorted(set(columns.values())))
        return keyframe.unpack({name: pages[page] for name, page in columns.items()})
    except (LookupError, TypeError, ValueError) as error:
        raise SessionError(f"the keyframe at event {at.seq} is damaged: {error}") from error


def _pages(connection: sqlite3.Connection, wanted: Sequence[int]) -> dict[int, bytes]:
    """The pages of those numbers."""
    found: dict[int, bytes] = {}
    for start in range(0, len(wanted), PAGES_AT_ONCE):
        numbers = wanted[start : start + PAGES_AT_ONCE]
        marks = ", ".join("?" * len(numbers))
        rows = fetch(connection, f"SELECT id, hash, data FROM pages WHERE id IN ({marks})", *numbers)
        found |= {number: _page(number, digest, packed) for number, digest, packed in rows}
    if missing := set(wanted) - found.keys():
        raise ValueError(f"page {min(missing)} is missing")
    return found


def _page(number: int, digest: bytes, packed: bytes) -> bytes:
    data = decompress(packed, MAX_PAGE_BYTES)
    if xxhash.xxh3_128_digest(data) != digest:
        raise ValueError(f"page {number} does not match its hash")
    return data
