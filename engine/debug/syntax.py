"""Expressions as trees, and back to text.

```
or            a or b
and           a and b
not           not a
comparison    a == b   != < <= > >= contains      (not chained)
sum           a + b    -
product       a * b    / %
sign          -a
atom          3.5   "text"   true   name   name.name   name("x")   (a)
```
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from engine.debug.lexer import quoted

Operator = Literal["or", "and", "==", "!=", "<", "<=", ">", ">=", "contains", "+", "-", "*", "/", "%"]

LEVELS: Final[dict[str, int]] = {
    "or": 1, "and": 2, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "contains": 4,
    "+": 5, "-": 5, "*": 6, "/": 6, "%": 6,
}  # fmt: skip
"""How tightly each binary operator binds."""
NOT: Final = 3
COMPARISON: Final = 4
SIGN: Final = 7
_ATOM: Final = 8


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is written, so that it can also name a request (`3.10`)."""

    source: str
    at: int = field(default=0, compare=False)

    @property
    def value(self) -> int | float:
        return int(self.source) if self.source.isdecimal() else float(self.source)


@dataclass(frozen=True, slots=True)
class Text:
    value: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Truth:
    value: bool
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a name; `argument` is what stands in its parentheses."""

    name: str
    argument: Number | Text | None = None
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """Parts with dots in between, such as `layer(5).resid.rms`."""

    parts: tuple[Part, ...]

    @property
    def at(self) -> int:
        return self.parts[0].at


@dataclass(frozen=True, slots=True)
class Unary:
    operator: Literal["-", "not"]
    operand: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Binary:
    operator: Operator
    left: Node
    right: Node
    at: int = field(default=0, compare=False)


Node: TypeAlias = Number | Text | Truth | Name | Unary | Binary


def show(node: Node) -> str:
    """The text of a tree, with no more parentheses than it needs; parsed, it gives the same tree."""
    match node:
        case Number(source=source):
            return source
        case Text(value=value):
            return quoted(value)
        case Truth(value=value):
            return "true" if value else "false"
        case Name(parts=parts):
            return ".".join(map(_part, parts))
        case Unary(operator="not", operand=operand):
            return f"not {_inside(operand, NOT)}"
        case Unary(operand=operand):
            return f"-{_inside(operand, SIGN)}"
        case Binary(operator=operator, left=left, right=right):
            level = LEVELS[operator]
            chained = level + 1 if level == COMPARISON else level
            return f"{_inside(left, chained)} {operator} {_inside(right, level + 1)}"


def _part(part: Part) -> str:
    return part.name if part.argument is None else f"{part.name}({show(part.argument)})"


def _inside(node: Node, least: int) -> str:
    text = show(node)
    return text if _level(node) >= least else f"({text})"


def _level(node: Node) -> int:
    match node:
        case Binary(operator=operator):
            return LEVELS[operator]
        case Unary(operator=operator):
            return NOT if operator == "not" else SIGN
    return _ATOM
