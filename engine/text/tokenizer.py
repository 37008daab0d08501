"""Token ids to text and back: a Hugging Face `tokenizer.json` as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tokenizers

from engine.text.errors import TextError
from engine.text.pieces import piece_decoder

__all__ = ["Tokenizer"]

_FILE = "tokenizer.json"


class Tokenizer:
    """A model's tokenizer. Ids that it does not know stand for no text."""

    def __init__(self, fast: tokenizers.Tokenizer) -> None:
        fast.no_truncation()
        fast.no_padding()
        self._fast = fast
        self._decode_piece = piece_decoder(fast)
        self._bytes: dict[int, bytes] = {}
        self.vocab_size: int = fast.get_vocab_size(with_added_tokens=True)
        added = fast.get_added_tokens_decoder()
        self.special_ids = frozenset(token for token, about in added.items() if about.special)

    @property
    def vocabulary(self) -> dict[str, int]:
        """The id of every token, by its text as the tokenizer spells it."""
        found: dict[str, int] = self._fast.get_vocab(with_added_tokens=True)
        return found

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a model folder. Raises TextError if it is missing or cannot be read."""
        path = folder / _FILE
        if not path.is_file():
            raise TextError(f"{folder} has no {_FILE}: without it text cannot become tokens")
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)))
        except Exception as error:  # the library raises nothing more special
            raise TextError(f"{path} cannot be read as a tokenizer: {_one_line(error)}") from error

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of `text`; with the special tokens that tokenizer.json puts around it, if asked."""
        ids: list[int] = self._fast.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """The text of a whole sequence of ids."""
        text: str = self._fast.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return text

    def id_of(self, piece: str) -> int | None:
        """The id of a piece of the vocabulary as it is written there, such as `<|endoftext|>`."""
        token: int | None = self._fast.token_to_id(piece)
        return token

    def token_bytes(self, token: int) -> bytes:
        """The bytes `token` adds in the middle of a text: perhaps a part of a UTF-8 character."""
        if token not in self._bytes:
            self._bytes[token] = self._find_bytes(token)
        return self._bytes[token]

    def token_text(self, token: int) -> str:
        """`token_bytes` as text, with U+FFFD for what is no whole character."""
        return self.token_bytes(token).decode(errors="replace")

    def _find_bytes(self, token: int) -> bytes:
        piece: str | None = self._fast.id_to_token(token)
        if piece is None:
            return b""
        if self._decode_piece is not None:
            return self._decode_piece(piece)
        return self._text_after_another(token).encode()

    def _text_after_another(self, token: int) -> str:
        """What the decoder makes of the token when one stands before it, for decoders that look."""
        once, twice = self.decode([token]), self.decode([token, token])
        return twice[len(once) :] if twice.startswith(once) else once


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
