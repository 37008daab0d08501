"""Prompt lookup: what followed the last few tokens where they stand earlier in the prompt or the output.

Saxena 2023, "Prompt Lookup Decoding"; the longest match counts, and of those the latest.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Annotated

import msgspec

from engine.drafting import Draft
from engine.drafts import DraftRequest
from plugins.errors import PluginError
from plugins.speculative.lengths import Adaptive, Tokens, length


class Options(msgspec.Struct, frozen=True):
    """What `--plugin ngram=tokens:6,max_ngram:4` sets."""

    tokens: Tokens = 6
    max_ngram: Annotated[int, msgspec.Meta(ge=1, le=64, description="The longest match that is looked for.")] = 4
    min_ngram: Annotated[int, msgspec.Meta(ge=1, le=64, description="The shortest match that counts.")] = 1
    adaptive: Adaptive = False


class PromptLookup:
    """Drafts what followed the longest suffix of the tokens that stands earlier among them."""

    name = "ngram"

    def __init__(self, options: Options) -> None:
        self._options = options

    def propose_drafts(self, asked: Sequence[DraftRequest]) -> Sequence[Draft | None]:
        return [self._draft(each) for each in asked]

    def _draft(self, asked: DraftRequest) -> Draft | None:
        options = self._options
        at = continuation(asked.tokens, options.max_ngram, options.min_ngram)
        if at is None:
            return None
        most = length(asked, options.tokens, options.adaptive)
        return Draft.sure(asked.tokens[at : at + most])


def continuation(tokens: Sequence[int], longest: int, shortest: int) -> int | None:
    """Where the latest earlier occurrence of the longest suffix of `tokens` ends; None where there is none.

    A suffix has `longest` to `shortest` tokens.
    """
    data = array("i", tokens).tobytes()
    for size in range(min(longest, len(tokens) - 1), shortest - 1, -1):
        found = _rfind(data, data[-4 * size :], len(data) - 4)
        if found >= 0:
            return found // 4 + size
    return None


def continuations(tokens: Sequence[int], longest: int, shortest: int, most: int) -> list[int]:
    """Up to `most` places where suffixes of `tokens` end earlier, each followed by another token.

    Longer suffixes first, and of one length the latest first.
    """
    data = array("i", tokens).tobytes()
    found: dict[int, int] = {}  # by the token that follows
    for size in range(min(longest, len(tokens) - 1), shortest - 1, -1):
        end = len(data) - 4
        while len(found) < most and (at := _rfind(data, data[-4 * size :], end)) >= 0:
            found.setdefault(tokens[at // 4 + size], at // 4 + size)
            end = at + 4 * size - 1
    return list(found.values())


def _rfind(data: bytes, wanted: bytes, end: int) -> int:
    """Where `wanted` begins last in `data[:end]`, at a multiple of 4; -1 where it does not."""
    while (found := data.rfind(wanted, 0, end)) % 4:
        if found < 0:
            return -1
        end = found + len(wanted) - 1
    return found


class NGram:
    """The plugin."""

    name = "ngram"
    version = "1"
    description = "Drafts what followed the last tokens where they stand earlier: speculative decoding by lookup."
    options = Options

    def provide(self, options: Options) -> Sequence[object]:
        if options.min_ngram > options.max_ngram:
            most = options.max_ngram
            raise PluginError(f"plugin ngram: min_ngram is {options.min_ngram}: max_ngram is {most}, give more")
        return (PromptLookup(options),)
