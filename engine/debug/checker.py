"""From text to an expression that can be evaluated: names resolved, types compared, arguments counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from engine.debug.bound import (
    BlockFact,
    Bound,
    CandidateFact,
    Constant,
    Expression,
    Fact,
    Leaf,
    Not,
    Operation,
    RequestFact,
    Sign,
    StageFact,
)
from engine.debug.errors import ExpressionError, nearest
from engine.debug.names import (
    ALIASES,
    BLOCK,
    CANDIDATES,
    IN_LAYER,
    OF_REQUEST,
    OUTSIDE_STAGES,
    SIMPLE,
    STATISTICS,
    Needs,
)
from engine.debug.parser import parse
from engine.debug.syntax import Binary, Name, Node, Number, Part, Text, Truth, Unary, show
from engine.debug.values import Type
from engine.model.stage_names import OUTSIDE

_HEADS = (*SIMPLE, *CANDIDATES, *OUTSIDE_STAGES, "any_nan", "layer", "block", "request")


@dataclass(frozen=True, slots=True)
class Known:
    """What names may speak of: the sizes of model and pool, and how text becomes tokens, where that is known."""

    layers: int
    blocks: int
    vocab_size: int
    encode: Callable[[str], Sequence[int]] | None = None


def check(source: str, known: Known) -> Expression:
    """The expression that `source` stands for. Raises ExpressionError."""
    checker = _Checker(known)
    tree, type_ = checker.bind(parse(source))
    names = tuple(dict.fromkeys(checker.names))
    return Expression(source.strip(), tree, type_, checker.needs, names)


def check_condition(source: str, known: Known) -> Expression:
    """The same for an expression that must be true or false."""
    expression = check(source, known)
    if expression.type is not Type.BOOL:
        found = f"this is a {expression.type}" if expression.type is not Type.TEXT else "this is text"
        raise ExpressionError(f"a condition is true or false, and {found}: compare it with something", 0)
    return expression


class _Checker:
    def __init__(self, known: Known) -> None:
        self._known = known
        self.needs = Needs.NOTHING
        self.names: list[tuple[str, Leaf]] = []

    def bind(self, node: Node) -> tuple[Bound, Type]:
        match node:
            case Number():
                return Constant(node.value), Type.NUMBER
            case Text(value=value):
                return Constant(value), Type.TEXT
            case Truth(value=value):
                return Constant(value), Type.BOOL
            case Name():
                return self._name(node)
            case Unary(operator="not", operand=operand):
                return Not(self._of_type(operand, Type.BOOL, "not", node.at)), Type.BOOL
            case Unary(operand=operand):
                return Sign(self._of_type(operand, Type.NUMBER, "-", node.at)), Type.NUMBER
            case Binary():
                return self._binary(node)

    def _of_type(self, node: Node, wanted: Type, operator: str, at: int) -> Bound:
        bound, found = self.bind(node)
        if found is not wanted:
            raise ExpressionError(f"{operator!r} takes a {wanted}, and {show(node)} is a {found}", at)
        return bound

    def _binary(self, node: Binary) -> tuple[Bound, Type]:
        operator, at = node.operator, node.at
        if operator in ("and", "or"):
            wanted = Type.BOOL
        elif operator in ("+", "-", "*", "/", "%"):
            wanted = Type.NUMBER
        else:
            return self._comparison(node), Type.BOOL
        left = self._of_type(node.left, wanted, operator, at)
        return Operation(operator, left, self._of_type(node.right, wanted, operator, at)), wanted

    def _comparison(self, node: Binary) -> Bound:
        (left, a), (right, b) = self.bind(node.left), self.bind(node.right)
        if node.operator in ("==", "!=") and Type.REQUEST in (a, b):
            left, a = _as_request(node.left, left, a)
            right, b = _as_request(node.right, right, b)
        if a is not b or not _comparable(node.operator, a):
            raise ExpressionError(
                f"{node.operator!r} cannot compare {show(node.left)}, a {a}, with {show(node.right)}, a {b}",
                node.at,
            )
        return Operation(node.operator, left, right)

    # -- names ---------------------------------------------------------------------------------------

    def _name(self, node: Name) -> tuple[Bound, Type]:
        leaf, type_, needs = self._leaf(node.parts)
        self.needs |= needs
        self.names.append((show(node), leaf))
        return leaf, type_

    def _leaf(self, parts: tuple[Part, ...]) -> tuple[Leaf, Type, Needs]:
        first, rest = parts[0], parts[1:]
        if first.name in CANDIDATES and first.argument is not None:
            _nothing_after(parts, 1)
            return self._candidate(first), Type.NUMBER, Needs.TOKEN
        if first.name == "layer":
            return self._stage(self._layer(first), parts, 1, IN_LAYER)
        if first.name in OUTSIDE_STAGES:
            return self._stage(OUTSIDE, parts, 0, OUTSIDE_STAGES)
        if first.name == "block":
            block = _whole(first, self._known.blocks, "block", "the pool")
            type_, name = _attribute(parts, 1, BLOCK)
            return BlockFact(block, name), type_, Needs.STATE
        if first.name == "request":
            type_, name = _attribute(parts, 1, OF_REQUEST)
            return RequestFact(_request(first), name), type_, Needs.STATE
        if first.name == "req" and rest:
            _no_argument(first)
            type_, name = _attribute(parts, 1, OF_REQUEST)
            return RequestFact(None, name), type_, Needs.STATE | Needs.REQUEST
        return self._simple(parts)

    def _simple(self, parts: tuple[Part, ...]) -> tuple[Leaf, Type, Needs]:
        path = ".".join(part.name for part in parts[:2])
        used = 2 if path in SIMPLE and len(parts) > 1 else 1
        name = path if used == 2 else parts[0].name
        if name == "any_nan":
            _no_argument(parts[0])
            _nothing_after(parts, 1)
            return Fact(name), Type.BOOL, Needs.STAGE | Needs.REQUEST
        if name not in SIMPLE:
            group = [each for each in SIMPLE if each.startswith(f"{parts[0].name}.")]
            if group:
                raise ExpressionError(f"{parts[0].name} has {_listed(group)}", parts[0].at)
            layered = parts[0].name in IN_LAYER
            hint = f": it is in a layer, layer(0).{parts[0].name}.rms" if layered else nearest(name, _HEADS)
            raise ExpressionError(f"there is no name {name!r}{hint}", parts[0].at)
        for part in parts[:used]:
            _no_argument(part)
        _nothing_after(parts, used)
        spec = SIMPLE[name]
        return Fact(name), spec.type, spec.needs

    def _candidate(self, part: Part) -> CandidateFact:
        kind = cast(Literal["rank", "prob", "logit"], part.name)
        if isinstance(part.argument, Text):
            return CandidateFact(kind, self._token(part.argument))
        return CandidateFact(kind, _whole(part, self._known.vocab_size, "token", "the vocabulary"))

    def _token(self, text: Text) -> int:
        if self._known.encode is None:
            raise ExpressionError("there is no tokenizer for this text: give a token's id", text.at)
        ids = self._known.encode(text.value)
        if len(ids) != 1:
            problem = f"{show(text)} is {len(ids)} tokens: give text that is one, or a token's id"
            raise ExpressionError(problem, text.at)
        return ids[0]

    def _layer(self, part: Part) -> int:
        return _whole(part, self._known.layers, "layer", "the model")

    def _stage(
        self, layer: int, parts: tuple[Part, ...], index: int, stages: Sequence[str]
    ) -> tuple[Leaf, Type, Needs]:
        if len(parts) <= index:
            raise ExpressionError(f"say which stage: {_listed(stages)}", parts[-1].at)
        stage = parts[index]
        if stage.name not in stages:
            raise ExpressionError(f"there is no stage {stage.name!r}{nearest(stage.name, stages)}", stage.at)
        _no_argument(stage)
        types = {name: (Type.NUMBER, says) for name, says in STATISTICS.items()}
        _, statistic = _attribute(parts, index + 1, types)
        place = (layer, ALIASES.get(stage.name, stage.name))
        return StageFact(place, statistic), Type.NUMBER, Needs.STAGE | Needs.REQUEST


def stage_place(source: str, known: Known) -> tuple[int, str]:
    """The place that `layer(3).attn_out` or `logits` names. Raises ExpressionError."""
    leaf = check(f"{source}.rms", known).tree
    if not isinstance(leaf, StageFact):
        raise ExpressionError("name a stage, such as layer(3).attn_out or logits", 0)
    return leaf.place


def _comparable(operator: str, type_: Type) -> bool:
    if operator == "contains":
        return type_ is Type.TEXT
    return operator in ("==", "!=") or type_ is Type.NUMBER


def _as_request(node: Node, bound: Bound, type_: Type) -> tuple[Bound, Type]:
    """A literal beside a request names one: `req == 3`."""
    if isinstance(node, Number):
        return Constant(node.source), Type.REQUEST
    return (bound, Type.REQUEST) if isinstance(node, Text) else (bound, type_)


def _attribute(parts: tuple[Part, ...], index: int, known: dict[str, tuple[Type, str]]) -> tuple[Type, str]:
    """The type and name of the attribute at `index`, the last part."""
    if len(parts) <= index:
        raise ExpressionError(f"say what of it: {_listed(known)}", parts[-1].at)
    part = parts[index]
    if part.name not in known:
        raise ExpressionError(f"there is no {part.name!r} here: use {_listed(known)}", part.at)
    _no_argument(part)
    _nothing_after(parts, index + 1)
    return known[part.name][0], part.name


def _whole(part: Part, count: int, what: str, of: str) -> int:
    argument = part.argument
    if not isinstance(argument, Number) or not isinstance(argument.value, int):
        at = part.at if argument is None else argument.at
        raise ExpressionError(f"{part.name}(…) takes the number of a {what}", at)
    if argument.value >= count:
        raise ExpressionError(f"there is no {what} {argument.source}: {of} has {count}", argument.at)
    return argument.value


def _request(part: Part) -> str:
    if part.argument is None:
        raise ExpressionError("request(…) takes the id of a request", part.at)
    return part.argument.source if isinstance(part.argument, Number) else part.argument.value


def _no_argument(part: Part) -> None:
    if part.argument is not None:
        raise ExpressionError(f"{part.name} takes no argument", part.argument.at)


def _nothing_after(parts: tuple[Part, ...], used: int) -> None:
    if len(parts) > used:
        raise ExpressionError(f"{parts[used - 1].name} has no part {parts[used].name!r}", parts[used].at)


def _listed(names: Sequence[str] | dict[str, tuple[Type, str]]) -> str:
    return ", ".join(names)
