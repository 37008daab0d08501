"""Tokens to a tree: precedence climbing (Pratt, "Top down operator precedence", 1973)."""

from __future__ import annotations

from typing import cast

from engine.debug.errors import ExpressionError
from engine.debug.lexer import Token, tokens_of
from engine.debug.syntax import (
    COMPARISON,
    LEVELS,
    NOT,
    SIGN,
    Binary,
    Name,
    Node,
    Number,
    Operator,
    Part,
    Text,
    Truth,
    Unary,
)

MOST_DEEP = 60
MOST_OPERATORS = 100  # so that whoever walks a tree may recurse
RESERVED = frozenset({"and", "or", "not", "contains", "true", "false"})


def parse(source: str) -> Node:
    """The tree of `source`. Raises ExpressionError, and nothing else, where it is no expression."""
    parser = _Parser(tokens_of(source))
    node = parser.expression(0)
    parser.expect_end()
    return node


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._deep = 0
        self._operators = 0

    def expression(self, least: int) -> Node:
        """Operands joined by operators that bind at least as tightly as `least`."""
        self._deep += 1
        if self._deep > MOST_DEEP:
            raise ExpressionError(f"nested more than {MOST_DEEP} deep", self._token.at)
        left = self._operand(least)
        while (level := LEVELS.get(self._operator, 0)) >= max(least, 1):
            sign = self._take_operator()
            right = self.expression(level + 1)
            left = Binary(cast(Operator, sign.value), left, right, sign.at)
            if level == COMPARISON and LEVELS.get(self._operator) == COMPARISON:
                raise ExpressionError("comparisons are not chained: join two with 'and'", self._token.at)
        self._deep -= 1
        return left

    def expect_end(self) -> None:
        if self._token.kind != "end":
            raise ExpressionError(f"an operator must stand before {self._shown()}", self._token.at)

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    @property
    def _operator(self) -> str:
        """The operator that comes next; a literal that looks like one is none."""
        return self._token.value if self._token.kind in ("word", "sign") else ""

    def _take(self) -> Token:
        token = self._token
        self._next += token.kind != "end"
        return token

    def _take_operator(self) -> Token:
        self._operators += 1
        if self._operators > MOST_OPERATORS:
            raise ExpressionError(f"an expression has at most {MOST_OPERATORS} operators", self._token.at)
        return self._take()

    def _is(self, sign: str) -> bool:
        return self._operator == sign

    def _shown(self) -> str:
        return "the end" if self._token.kind == "end" else repr(self._token.value)

    def _operand(self, least: int) -> Node:
        if self._is("not"):
            if least > NOT:
                raise ExpressionError("put 'not …' in parentheses here", self._token.at)
            sign = self._take_operator()
            return Unary("not", self.expression(NOT), sign.at)
        if self._is("-"):
            sign = self._take_operator()
            return Unary("-", self.expression(SIGN), sign.at)
        return self._atom()

    def _atom(self) -> Node:
        token = self._take()
        match token.kind:
            case "number":
                return Number(token.value, token.at)
            case "text":
                return Text(token.value, token.at)
            case "word" if token.value in ("true", "false"):
                return Truth(token.value == "true", token.at)
            case "word" if token.value not in RESERVED:
                return self._name(token)
            case "sign" if token.value == "(":
                node = self.expression(0)
                self._expect(")")
                return node
        self._next -= token.kind != "end"
        raise ExpressionError(f"a value must stand here, not {self._shown()}", token.at)

    def _name(self, first: Token) -> Name:
        parts = [self._part(first)]
        while self._is("."):
            self._take()
            word = self._take()
            if word.kind != "word" or word.value in RESERVED:
                raise ExpressionError("a name must follow the dot", word.at)
            parts.append(self._part(word))
        return Name(tuple(parts))

    def _part(self, word: Token) -> Part:
        if not self._is("("):
            return Part(word.value, None, word.at)
        self._take()
        argument = self._take()
        if argument.kind == "number":
            value: Number | Text = Number(argument.value, argument.at)
        elif argument.kind == "text":
            value = Text(argument.value, argument.at)
        else:
            raise ExpressionError(f"{word.value}(…) takes one number or text", argument.at)
        if self._is(","):
            raise ExpressionError(f"{word.value}(…) takes one argument", self._token.at)
        self._expect(")")
        return Part(word.value, value, word.at)

    def _expect(self, sign: str) -> None:
        if not self._is(sign):
            raise ExpressionError(f"{sign!r} must stand before {self._shown()}", self._token.at)
        self._take()
