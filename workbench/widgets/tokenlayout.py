"""Tokens in lines of a width: kept by line starts, extended when tokens come, cut when time goes back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

from workbench.widgets.cells import cell_len, chunks, safe

BREAKS = "\n⏎␊"
"""Characters that end a line, whichever way the text was made harmless."""


class Start(NamedTuple):
    """Where a line begins: a token and a piece of it."""

    token: int
    piece: int


class Fragment(NamedTuple):
    """A piece of a token on a line."""

    token: int
    text: str


def token_pieces(text: str, newline: str, width: int) -> list[str]:
    """Return a token's text as pieces no wider than `width`; a piece that ends a line ends in `newline`."""
    if text.isascii() and text.isprintable() and len(text) <= width:
        return [text]
    if not any(mark in text for mark in BREAKS):
        shown = safe(text)
        return [shown] if cell_len(shown) <= width else [part for part in chunks(shown, width, width) if part]
    pieces: list[str] = []
    for character in BREAKS[1:]:
        text = text.replace(character, "\n")
    for line in text.split("\n"):
        pieces += list(chunks(safe(line), max(1, width - 1), max(1, width - 1)))
        pieces[-1] += newline
    pieces[-1] = pieces[-1][: -len(newline)]
    return [piece for piece in pieces if piece] or [""]


class TokenLayout:
    """Line starts of a token text; a token moves to the next line whole, unless it is wider than a line."""

    def __init__(self, text: Callable[[int], str], width: int, newline: str) -> None:
        self.text = text
        self.width = max(2, width)
        self.newline = newline
        self.count = 0
        self.starts: list[Start] = [Start(0, 0)]
        self._column = 0

    def __len__(self) -> int:
        return len(self.starts)

    def fit_to(self, count: int) -> None:
        """Lay out exactly `count` tokens, reusing every line that did not change."""
        if count < self.count:
            self._cut(count)
        for token in range(self.count, count):
            self._add(token)
        self.count = count

    def _cut(self, count: int) -> None:
        """Go back to the last line that begins with a whole token at or before `count`."""
        line = self.line_of(count)
        while self.starts[line].piece:
            line -= 1
        del self.starts[line + 1 :]
        self.count = self.starts[line].token
        self._column = 0

    def _add(self, token: int) -> None:
        text = self.text(token)
        if text.isascii() and text.isprintable() and self._column + len(text) <= self.width:
            self._column += len(text)
            return
        pieces = token_pieces(text, self.newline, self.width)
        for number, piece in enumerate(pieces):
            size = cell_len(piece)
            if self._column + size > self.width and self._column:
                self._break(Start(token, number))
            self._column += size
            if piece.endswith(self.newline):
                self._break(Start(token, number + 1) if number + 1 < len(pieces) else Start(token + 1, 0))

    def _break(self, start: Start) -> None:
        self.starts.append(start)
        self._column = 0

    def pieces(self, token: int) -> list[str]:
        """Return the pieces of one token."""
        return token_pieces(self.text(token), self.newline, self.width)

    def line_of(self, token: int) -> int:
        """Return the line where `token` begins."""
        line = bisect_right(self.starts, Start(token, 0)) - 1
        return max(0, line)

    def fragments(self, line: int) -> Iterator[Fragment]:
        """Yield what stands on `line`, from left to right."""
        start = self.starts[line]
        stop = self.starts[line + 1] if line + 1 < len(self.starts) else Start(self.count, 0)
        for token in range(start.token, min(stop.token + 1, self.count)):
            pieces = self.pieces(token)
            first = start.piece if token == start.token else 0
            last = stop.piece if token == stop.token else len(pieces)
            for piece in pieces[first:last]:
                yield Fragment(token, piece)

    def token_at(self, line: int, column: int) -> int:
        """Return the token at a cell of a line, the nearest one where the line is shorter."""
        token, used = min(self.starts[line].token, max(0, self.count - 1)), 0
        for fragment in self.fragments(line):
            token = fragment.token
            used += cell_len(fragment.text)
            if column < used:
                break
        return token

    def column_of(self, token: int) -> int:
        """Return the cell where `token` begins on its line."""
        used = 0
        for fragment in self.fragments(self.line_of(token)):
            if fragment.token == token:
                break
            used += cell_len(fragment.text)
        return used
