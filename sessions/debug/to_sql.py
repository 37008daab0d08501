"""Expressions over one token as SQL over the `tokens` table, so that a query finds where they may hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from engine.debug.bound import Bound, Constant, Fact, Not, Operation, Sign

_COLUMNS: Final[Mapping[str, str]] = {
    "pos": "position", "token": "token", "text": "text", "req": "request", "entropy": "entropy",
    "varentropy": "varentropy", "logprob": "logprob", "raw_logprob": "raw_logprob", "rank": "rank",
    "margin": "margin", "draw": "draw", "near_tie": "near_tie", "prob": "exp(logprob)", "step": "chosen_step",
}  # fmt: skip


class NotInTableError(Exception):
    """The table does not say this."""


@dataclass(frozen=True, slots=True)
class Sql:
    """A part of a question, and the values of its question marks."""

    text: str
    values: tuple[object, ...] = ()


def value_sql(node: Bound) -> Sql:
    """`node` exactly, missing as NULL. Raises NotInTableError."""
    match node:
        case Constant(value=value) if not (isinstance(value, float) and math.isnan(value)):
            return Sql("?", (value,))
        case Fact(name=name) if name in _COLUMNS:
            return Sql(_COLUMNS[name])
        case Sign(operand=operand):
            return _of("(-{})", value_sql(operand))
        case Not() | Operation(operator="and" | "or"):
            return _of("({})", _exactly(node))
        case Operation(operator="+" | "-" | "*" | "/"):
            return _of(f"(1.0 * {{}} {node.operator} {{}})", value_sql(node.left), value_sql(node.right))
        case Operation(operator="contains"):
            return _of("coalesce(instr({}, {}) > 0, 0)", value_sql(node.left), value_sql(node.right))
        case Operation(operator="==" | "!=" | "<" | "<=" | ">" | ">="):
            return _of(f"coalesce({{}} {node.operator} {{}}, 0)", value_sql(node.left), value_sql(node.right))
    raise NotInTableError


def at_most_where(node: Bound) -> Sql:
    """A condition that is true wherever `node` is, and perhaps elsewhere."""
    match node:
        case Operation(operator="and"):
            return _of("({} AND {})", at_most_where(node.left), at_most_where(node.right))
        case Operation(operator="or"):
            return _of("({} OR {})", at_most_where(node.left), at_most_where(node.right))
    try:
        return _exactly(node)
    except NotInTableError:
        return Sql("TRUE")


def _exactly(node: Bound) -> Sql:
    match node:
        case Not(operand=operand):
            return _of("NOT {}", _exactly(operand))
        case Operation(operator="and" | "or"):
            return _of(f"({{}} {node.operator.upper()} {{}})", _exactly(node.left), _exactly(node.right))
    return _of("coalesce({}, 0)", value_sql(node))


def _of(form: str, *parts: Sql) -> Sql:
    return Sql(form.format(*(part.text for part in parts)), tuple(v for part in parts for v in part.values))
