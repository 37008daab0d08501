"""Texts: every text of a token once, harmless, and the numbers under which the page finds them."""

from __future__ import annotations

from collections.abc import Sequence

from engine.sanitise import display_bytes, display_text
from sessions.reader import Session


class Texts:
    """Numbers texts as they are asked for; `all` is what the numbers point into."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._numbers: dict[int, int] = {}
        self._of_text: dict[str, int] = {}
        self.all: list[str] = []

    def number(self, token: int) -> int:
        """The number of a token's text. Tokens with one text share it."""
        if token not in self._numbers:
            self._numbers[token] = self._of(self._shown(token))
        return self._numbers[token]

    def numbers(self, tokens: Sequence[int]) -> list[int]:
        return [self.number(token) for token in tokens]

    def shown(self, token: int) -> str:
        """The text of a token as the page shows it."""
        return self.all[self.number(token)]

    def _of(self, text: str) -> int:
        if text not in self._of_text:
            self._of_text[text] = len(self.all)
            self.all.append(text)
        return self._of_text[text]

    def _shown(self, token: int) -> str:
        """Newlines and what else could act on a page as pictures; the bytes of a part of a character."""
        text = self._session.token_text(token)
        return display_bytes(self._session.token_bytes(token)) if "\ufffd" in text else display_text(text)
