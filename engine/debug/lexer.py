"""Expression text to tokens."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from engine.debug.errors import ExpressionError

MOST_CHARACTERS = 2000

Kind = Literal["number", "text", "word", "sign", "end"]

_PARTS = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      | (?P<word>[^\W\d]\w*)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<sign>==|!=|<=|>=|[-<>+*/%().,])""",
    re.VERBOSE | re.DOTALL,
)
_INSTEAD = {"=": "==", "&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "<>": "!="}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_ESCAPED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", '"': '\\"'}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, sign or literal; `value` of a text is what it stands for. `at` counts characters from 0."""

    kind: Kind
    value: str
    at: int


def tokens_of(source: str) -> list[Token]:
    """The tokens of `source`, closed by one of kind `end`. Raises ExpressionError."""
    if len(source) > MOST_CHARACTERS:
        raise ExpressionError(f"an expression has at most {MOST_CHARACTERS} characters", MOST_CHARACTERS)
    tokens: list[Token] = []
    at = 0
    while at < len(source):
        found = _PARTS.match(source, at)
        if found is None:
            raise ExpressionError(_problem(source, at), at)
        if (token := _token(found)) is not None:
            tokens.append(token)
        at = found.end()
    return [*tokens, Token("end", "", len(source))]


def _token(found: re.Match[str]) -> Token | None:
    kind, text, at = found.lastgroup, found.group(), found.start()
    match kind:
        case "number":
            if not math.isfinite(float(text)):
                raise ExpressionError("this number is too large", at)
            return Token("number", text, at)
        case "word":
            return Token("word", text, at)
        case "text":
            return Token("text", _unescaped(text, at), at)
        case "sign":
            return Token("sign", text, at)
    return None


def _problem(source: str, at: int) -> str:
    sign = source[at : at + 2] if source[at : at + 2] in _INSTEAD else source[at]
    if sign in _INSTEAD:
        return f"{sign!r} is no operator here: write {_INSTEAD[sign]!r}"
    if sign in "\"'":
        return "this text has no closing quote"
    return f"{sign!r} has no meaning here"


def _unescaped(quoted: str, at: int) -> str:
    def escape(found: re.Match[str]) -> str:
        short, long, character = found.groups()
        if character is None:
            code = int(short or long, 16)
            if code > 0x10FFFF:
                raise ExpressionError("there is no such character", at + 1 + found.start())
            return chr(code)
        if character not in _ESCAPES:
            known = "\\n \\t \\r \\\\ \\\" \\' \\uXXXX \\UXXXXXXXX"
            raise ExpressionError(f"\\{character} is no escape: use {known}", at + 1 + found.start())
        return _ESCAPES[character]

    return _ESCAPE.sub(escape, quoted[1:-1])


def quoted(text: str) -> str:
    """`text` as the literal that stands for it."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPED:
        return _ESCAPED[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


__all__ = ["MOST_CHARACTERS", "Token", "quoted", "tokens_of"]
