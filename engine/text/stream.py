"""Text from ids as they come, never half a character."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from engine.text.tokenizer import Tokenizer

__all__ = ["TextStream"]

_LONGEST_CHARACTER_BYTES = 4


class TextStream:
    """The text of an output, id by id: what `append` and `finish` return adds up to it.

    The output goes on where the prompt ended, so a leading space stays, and a character that the prompt
    began is completed. Bytes that are not UTF-8 become U+FFFD; special tokens have no text unless asked.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt_ids: Sequence[int] = (), *, skip_special_tokens: bool = True
    ) -> None:
        self._tokenizer = tokenizer
        self._skipped = tokenizer.special_ids if skip_special_tokens else frozenset[int]()
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        for token in prompt_ids[-_LONGEST_CHARACTER_BYTES:]:
            self.append(token)

    def append(self, token: int) -> str:
        """The characters that `token` completes."""
        if token in self._skipped:
            return ""
        return self._utf8.decode(self._tokenizer.token_bytes(token))

    def finish(self) -> str:
        """What is left of a character that no token completed."""
        return self._utf8.decode(b"", final=True)
