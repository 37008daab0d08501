"""Values of expressions, and what operators make of them.

A value that does not exist is *missing* (None): arithmetic with it is missing, comparisons with it are false, and
where a truth value is needed it counts as false. Division by zero is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from engine.debug.errors import LacksError
from engine.debug.lexer import quoted


class Type(StrEnum):
    NUMBER = "number"
    BOOL = "truth value"
    TEXT = "text"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Beyond:
    """A number that was not kept, but is known to lie between `low` and `high`; `why` says what would give it."""

    low: float
    high: float
    why: str


Plain: TypeAlias = float | int | bool | str | None
Value: TypeAlias = Plain | Beyond


def plain(value: Value) -> Plain:
    """`value` itself. Raises LacksError where only its bounds are known."""
    if isinstance(value, Beyond):
        raise LacksError(value.why)
    return value


def arithmetic(operator: str, left: Value, right: Value) -> Value:
    """`+ - * / %` of numbers, in float64; `%` takes the sign of its right side."""
    a, b = plain(left), plain(right)
    if a is None or b is None:
        return None
    assert not isinstance(a, str)
    assert not isinstance(b, str)
    return _ARITHMETIC[operator](float(a), float(b))


def _divide(a: float, b: float) -> float | None:
    return a / b if b else None


def _modulo(a: float, b: float) -> float | None:
    return a % b if b and math.isfinite(a) else None


_ARITHMETIC: Final[dict[str, Callable[[float, float], float | None]]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "%": _modulo,
}


def compare(operator: str, left: Value, right: Value) -> bool:
    """A comparison; false where either side is missing."""
    if left is None or right is None:
        return False
    if isinstance(left, Beyond) or isinstance(right, Beyond):
        return _compare_bounds(operator, left, right)
    if operator == "contains":
        return str(right) in str(left)
    return _COMPARISONS[operator](left, right)


_COMPARISONS: Final[dict[str, Callable[[object, object], bool]]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,  # type: ignore[operator]
    "<=": lambda a, b: a <= b,  # type: ignore[operator]
    ">": lambda a, b: a > b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
}


def _compare_bounds(operator: str, left: Value, right: Value) -> bool:
    """Decided where the bounds decide it. Raises LacksError where they do not."""
    (low, high), (least, most) = _bounds(left), _bounds(right)
    below, above = high < least, low > most
    match operator:
        case "==" | "!=" if below or above:
            return operator == "!="
        case "<" if below or low >= most:
            return below
        case "<=" if high <= least or above:
            return not above
        case ">" if above or high <= least:
            return above
        case ">=" if low >= most or below:
            return not below
    raise LacksError(next(value.why for value in (left, right) if isinstance(value, Beyond)))


def _bounds(value: Value) -> tuple[float, float]:
    if isinstance(value, Beyond):
        return value.low, value.high
    assert isinstance(value, int | float)
    return value, value


def same(before: Value, now: Value) -> bool:
    """Whether a watched value has stayed what it was; not a number is the same as itself."""
    if isinstance(before, float) and isinstance(now, float) and math.isnan(before) and math.isnan(now):
        return True
    return before == now


def show_value(value: Value) -> str:
    """`value` as a person reads it, and as it can be written in an expression where that is possible."""
    match value:
        case None:
            return "missing"
        case Beyond(low=low, high=high):
            return f"at least {show_value(low)}" if math.isinf(high) else f"at most {show_value(high)}"
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case float() if math.isfinite(value) and value == int(value) and abs(value) < 1 << 53:
            return str(int(value))
        case float():
            return f"{value:.6g}"
    return str(value)
