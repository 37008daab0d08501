"""What follows the name of a command in its line, read from left to right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from engine.debug.commands import Source, Whose
from engine.debug.errors import DebugError, ExpressionError, nearest
from engine.debug.lexer import tokens_of

Choice = TypeVar("Choice", bound=str)

_WORD = re.compile(r"\S+")
_COUNT = re.compile(r"[^\s:]+")
_REQUEST = re.compile(r"[0-9]+(\.[0-9]+)?")
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
_SETTING = re.compile(r"([a-z_]+)=(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\S+)")


class Arguments:
    """The rest of `line` from character `at` on; `usage` ends the sentences about what is wrong."""

    def __init__(self, line: str, at: int, usage: str) -> None:
        self.line = line
        self.at = at
        self.usage = usage
        self._skip()

    def wrong(self, problem: str) -> DebugError:
        return DebugError(f"{problem}: write `{self.usage}`")

    @property
    def ended(self) -> bool:
        return self.at >= len(self.line)

    def end(self) -> None:
        """Nothing more may follow."""
        if not self.ended:
            raise self.wrong(f"{self.line[self.at :].strip()!r} is too much")

    def word(self) -> str | None:
        """The next word."""
        return self._take(_WORD)

    def follows(self, word: str) -> bool:
        """Take `word` if it comes next."""
        found = _WORD.match(self.line, self.at)
        if found is None or found.group() != word:
            return False
        self._take(_WORD)
        return True

    def colon(self) -> bool:
        """Take a colon if it comes next, with or without space behind it."""
        if not self.line.startswith(":", self.at):
            return False
        self.at += 1
        self._skip()
        return True

    def rest(self) -> Source:
        """All that is left, which must be something."""
        if self.ended:
            raise self.wrong("something is missing")
        source = Source(self.line[self.at :].rstrip(), self.at)
        self.at = len(self.line)
        return source

    def before(self, *words: str) -> Source:
        """What stands before any of `words`, or all that is left; quoted text is passed over."""
        whole = self.rest()
        at = 0
        while at < len(whole.text):
            if found := _QUOTED.match(whole.text, at):
                at = found.end()
            elif any(re.compile(rf"\b{word}\b").match(whole.text, at) for word in words) and at:
                self.at = whole.at + at
                return Source(whole.text[:at].rstrip(), whole.at)
            else:
                at += 1
        return whole

    def number(self, what: str, default: int | None = None) -> int:
        """A whole number, or `default` where the line has ended."""
        word = self._take(_COUNT)
        if word is None and default is not None:
            return default
        if word is None or not (word.isascii() and word.isdecimal()) or len(word) > 18:
            raise self.wrong(f"{what} must be a whole number" + (f", not {word!r}" if word else ""))
        return int(word)

    def numbers(self, what: str) -> tuple[int, ...]:
        found = []
        while not self.ended:
            found.append(self.number(what))
        return tuple(found)

    def request(self) -> str:
        """The id of a request."""
        word = self.word()
        if word is None or not _REQUEST.fullmatch(word):
            raise self.wrong("name a request, such as 3 or 3.1" + (f", not {word!r}" if word else ""))
        return word

    def only_request(self) -> str | None:
        """`req 3` at the end of the line."""
        if self.ended:
            return None
        if not self.follows("req"):
            raise self.wrong(f"{self.line[self.at :].strip()!r} is too much")
        request = self.request()
        self.end()
        return request

    def whose(self) -> Whose | None:
        """A request and a position, where the next word is a request."""
        found = _WORD.match(self.line, self.at)
        if found is None or not _REQUEST.fullmatch(found.group()):
            return None
        request = self.request()
        following = _WORD.match(self.line, self.at)
        if following is None or not following.group().isdecimal():
            return Whose(request)
        return Whose(request, self.number("a position"))

    def choice(self, what: str, allowed: Iterable[Choice]) -> Choice:
        """One of a few words, or an unambiguous beginning of one."""
        allowed = tuple(allowed)
        word = self.word() or ""
        found = [each for each in allowed if each.startswith(word)] if word else []
        if word in allowed:
            return next(each for each in allowed if each == word)
        if len(found) != 1:
            raise self.wrong(f"{what} must be one of {', '.join(allowed)}" + (f", not {word!r}" if word else ""))
        return found[0]

    def text(self, what: str) -> str:
        """Text in quotes."""
        found = _QUOTED.match(self.line, self.at)
        if found is None:
            raise self.wrong(f"{what} must stand in quotes")
        start = self.at
        self.at = found.end()
        self._skip()
        return unquoted(found.group(), start)

    def settings(self, known: Mapping[str, str]) -> dict[str, str]:
        """`name=value` pairs to the end of the line; texts with their quotes, see `bare`."""
        found: dict[str, str] = {}
        while not self.ended:
            pair = _SETTING.match(self.line, self.at)
            if pair is None:
                raise self.wrong(f"{self.line[self.at :].strip()!r} is no name=value")
            name, value = pair.groups()
            if name not in known:
                raise self.wrong(f"there is no setting {name!r}{nearest(name, known)}")
            found[name] = value
            self.at = pair.end()
            self._skip()
        return found

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.line, self.at)
        if found is None:
            return None
        self.at = found.end()
        self._skip()
        return found.group()

    def _skip(self) -> None:
        while self.at < len(self.line) and self.line[self.at].isspace():
            self.at += 1


def bare(value: str) -> str:
    """The value of a setting without quotes, where it has some."""
    return unquoted(value, 0) if value[0] in "\"'" else value


def unquoted(literal: str, at: int) -> str:
    """The text that a quoted literal stands for."""
    try:
        return tokens_of(literal)[0].value
    except ExpressionError as error:
        raise error.moved(at) from None
