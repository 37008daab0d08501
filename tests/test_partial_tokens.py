"""A token that is a part of a character is shown by its bytes, so that such tokens can be told apart."""

from __future__ import annotations

from pathlib import Path

from engine.text import Tokenizer
from sessions.reader import Session
from workbench.record import Record


def test_parts_of_a_character_are_shown_as_their_bytes(demo_session: Path) -> None:
    session = Session.open(demo_session)
    tokenizer = Tokenizer.from_folder(Path("models/tiny-python"))
    ids = tokenizer.encode("日")
    shown = [Record(session).token_text(token) for token in ids]
    session.close()
    assert len(set(shown)) == len(ids) == 3
    assert all(f"{byte:02x}" in text.lower() for byte, text in zip("日".encode(), shown, strict=True))
