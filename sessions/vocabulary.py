"""Text of token ids, from the tokenizer that a session carries."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, Protocol

import tokenizers

from engine.text import Tokenizer
from sessions.errors import SessionError
from sessions.header import read_tokenizer
from sessions.tables import fetch_value

REDACTED: Final = "redacted"
"""The attachment that a session has whose text was taken out."""
LENGTHS: Final = 1 << 10
"""In such a session a token id modulo this is the length of its text."""


class Vocabulary(Protocol):
    """Turns token ids into text."""

    def token_text(self, token: int) -> str:
        """The text one token adds."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """The bytes one token adds: perhaps a part of a UTF-8 character."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a whole sequence."""
        ...


class Numbers:
    """What stands for text in a session without a tokenizer: `<7>` is token 7."""

    def token_text(self, token: int) -> str:
        return f"<{token}>"

    def token_bytes(self, token: int) -> bytes:
        return self.token_text(token).encode()

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(self.token_text, ids))


class Marks:
    """What stands for text in a redacted session: as many marks as the token had characters."""

    def token_text(self, token: int) -> str:
        return "█" * (token % LENGTHS)

    def token_bytes(self, token: int) -> bytes:
        return self.token_text(token).encode()

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(self.token_text, ids))


def is_redacted(connection: sqlite3.Connection) -> bool:
    """Whether the text was taken out of an open session."""
    return fetch_value(connection, "SELECT 1 FROM attachments WHERE name = ?", REDACTED) is not None


def vocabulary_of(connection: sqlite3.Connection) -> Vocabulary:
    """The vocabulary of an open session. Raises SessionError when its tokenizer cannot be read."""
    if is_redacted(connection):
        return Marks()
    data = read_tokenizer(connection)
    if data is None:
        return Numbers()
    try:
        return Tokenizer(tokenizers.Tokenizer.from_str(data.decode()))
    except Exception as error:  # the library raises nothing more special
        raise SessionError(f"the tokenizer in the session cannot be read: {error}") from error
