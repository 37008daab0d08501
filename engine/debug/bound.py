"""Checked expressions: every name resolved, every type known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from engine.debug.names import Needs
from engine.debug.syntax import Operator
from engine.debug.values import Plain, Type

Place: TypeAlias = tuple[int, str]
"""A layer (-1 outside) and a stage."""


@dataclass(frozen=True, slots=True)
class Constant:
    value: Plain


@dataclass(frozen=True, slots=True)
class Fact:
    """A name that stands for one value."""

    name: str


@dataclass(frozen=True, slots=True)
class CandidateFact:
    kind: Literal["rank", "prob", "logit"]
    token: int


@dataclass(frozen=True, slots=True)
class StageFact:
    place: Place
    statistic: str


@dataclass(frozen=True, slots=True)
class BlockFact:
    block: int
    attribute: str


@dataclass(frozen=True, slots=True)
class RequestFact:
    """Of `request`, or of the one that is looked at."""

    request: str | None
    attribute: str


@dataclass(frozen=True, slots=True)
class Sign:
    operand: Bound


@dataclass(frozen=True, slots=True)
class Not:
    operand: Bound


@dataclass(frozen=True, slots=True)
class Operation:
    operator: Operator
    left: Bound
    right: Bound


Leaf: TypeAlias = Fact | CandidateFact | StageFact | BlockFact | RequestFact
Bound: TypeAlias = Constant | Leaf | Sign | Not | Operation


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that can be evaluated. `names` are its leaves by the text they are written with."""

    source: str
    tree: Bound
    type: Type
    needs: Needs
    names: tuple[tuple[str, Leaf], ...]

    @property
    def places(self) -> frozenset[Place]:
        """The stages it looks at."""
        return frozenset(leaf.place for _, leaf in self.names if isinstance(leaf, StageFact))

    @property
    def any_stage(self) -> bool:
        """Whether every stage of the pass concerns it."""
        return any(leaf == Fact("any_nan") for _, leaf in self.names)
