"""Where two runs part: the first stage whose difference the stages before it do not explain.

Both runs compute the same row of the same tokens. A difference at a stage is inherited from the stages before
it, or made there. To tell the two apart, every stage of run B is given what run A had before it (its inputs,
and the keys and values of earlier positions): what still differs then is the stage's own. It is weighed against
what rounding would do: the same stage given inputs that are off by as much as the type rounds.

Keys and values of earlier positions are compared first. Where they begin to differ beyond rounding the trouble
began, so that row is searched; when its stages agree and yet the cache holds something else, the cache is to
blame: stage `kv`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engine.divergence_measures import Floor, apart, coarser, floor_of, unit
from engine.divergence_rebuild import Place, Rebuilt, Row
from engine.divergence_result import (
    KV,
    ORDER,
    Divergence,
    FirstStage,
    KVDifference,
    Real,
    Run,
    StageDifference,
    real,
)
from engine.model.stage_names import FIRST_STAGES, LAST_STAGES, OUTSIDE

__all__ = ["Source", "search"]

CACHE_TOLERANCE = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 2e-1}
"""From which relative difference on cached keys and values cannot be rounding, over all layers before them."""
TRIALS = 3


class Source(Protocol):
    """A run whose rows can be looked at."""

    @property
    def dtype(self) -> torch.dtype: ...

    def held(self) -> list[Tensor]:
        """K and V before the row that is asked about: `[position, 2, kv_heads, head_dim]` for each layer."""
        ...

    def row(self, position: int) -> Row:
        """The row of `position` at every stage the source knows."""
        ...


def search(a: Source, b: Rebuilt) -> Divergence:
    """Search the row that `b` was rebuilt for. `a` and `b` have the same tokens up to it."""
    dtype = coarser(a.dtype, b.dtype)
    rows = {b.position: _Compared.at(a, b, b.position, dtype)}
    held = _Held(a.held(), b.held(), CACHE_TOLERANCE[dtype])
    for position in held.suspects():
        with suppress(LookupError):  # computed outside the recorded steps, as after going back
            rows[position] = _Compared.at(a, b, position, dtype)
    blamed = next((found for at in sorted(rows) if (found := _blame(rows[at], held)) is not None), None)
    shown = rows[blamed.position if blamed is not None and blamed.position in rows else b.position]
    first = blamed or _first_at_all(rows[b.position], held)
    return Divergence(b.position, shown.position, first, tuple(shown.differences), tuple(held.differences()))


@dataclass(frozen=True, slots=True)
class _Compared:
    """One row in both runs, each stage with its own difference and its floor."""

    position: int
    a: Row
    b: Row
    differences: Sequence[StageDifference]

    @staticmethod
    def at(a: Source, b: Rebuilt, position: int, dtype: torch.dtype) -> _Compared:
        row_a, row_b = a.row(position), b.row(position)
        made = b.forced(row_a)
        answers = [b.forced(row_a, unit(dtype), seed) for seed in range(TRIALS)]
        differences = [
            _difference(
                place, value, row_b.stages[place], made[place], _floor(place, value, made, answers, dtype)
            )
            for place, value in _in_order(row_a, row_b)
        ]
        return _Compared(position, row_a, row_b, differences)


def _in_order(a: Row, b: Row) -> Iterator[tuple[Place, Tensor]]:
    """A's values at the stages that both runs have, in the order of a pass."""
    for place in b.stages:
        if place in a.stages:
            yield place, a.stages[place].reshape(b.stages[place].shape)


def _floor(
    place: Place,
    value: Tensor,
    made: dict[Place, Tensor],
    answers: Sequence[dict[Place, Tensor]],
    dtype: torch.dtype,
) -> Floor:
    return floor_of(value, made[place], [answer[place] for answer in answers], dtype)


def _difference(place: Place, a: Tensor, b: Tensor, made: Tensor, floor: Floor) -> StageDifference:
    whole, own = apart(a, b), apart(a, made)
    layer, stage = place
    return StageDifference(
        layer, stage, real(whole.max_abs), real(whole.rel), whole.cosine, real(own.max_abs), real(own.rel),
        real(floor.rel), floor.exceeded_by(a, made),
    )  # fmt: skip


class _Held:
    """What both runs had cached before the row, compared position by position."""

    def __init__(self, a: Sequence[Tensor], b: Sequence[Tensor], tolerance: float) -> None:
        self.a, self.b, self.tolerance = a, b, tolerance
        self.rel = torch.stack([_rel(x, y) for x, y in zip(a, b, strict=True)])  # [layers, positions]

    def suspects(self) -> list[int]:
        """Positions to search: where the difference begins, and where it is largest."""
        worst = self.rel.max(dim=0).values if self.rel.numel() else self.rel.new_empty(0)
        beyond = (worst > self.tolerance).nonzero().flatten().tolist()
        return sorted({beyond[0], int(worst.argmax())}) if beyond else []

    def differences(self) -> Iterator[KVDifference]:
        for layer, (a, b) in enumerate(zip(self.a, self.b, strict=True)):
            position = int(self.rel[layer].argmax()) if len(a) else 0
            rel = float(self.rel[layer].max()) if len(a) else 0.0
            yield KVDifference(layer, real(apart(a, b).max_abs), real(rel), position)

    def of(self, run: Run) -> Sequence[Tensor]:
        return self.a if run == "a" else self.b

    def first_at_all(self) -> tuple[int, int] | None:
        """The first layer whose cache differs by a bit, and the first position there."""
        for layer in range(len(self.rel)):
            if len(where := self.rel[layer].nonzero()):
                return layer, int(where[0])
        return None


def _rel(a: Tensor, b: Tensor) -> Tensor:
    """How far K or V of each position differ, whichever does more, against a usual one: `[positions]`."""
    a, b = a.double().flatten(2), b.double().flatten(2)
    size = a.norm(dim=2)
    usual = size.median(dim=0, keepdim=True).values if len(a) else size
    rel = (b - a).norm(dim=2) / torch.maximum(size, usual).clamp(min=1e-30)
    worst: Tensor = rel.nan_to_num(nan=math.inf, posinf=math.inf).max(dim=1).values
    return worst


def _blame(row: _Compared, held: _Held) -> FirstStage | None:
    """The first stage of the row above its floor, or the cache, whichever comes first."""
    stage = next((each for each in row.differences if each.beyond), None)
    cache = _stale(row, held)
    if stage is None or (cache is not None and _rank(cache.layer, KV) < _rank(stage.layer, stage.stage)):
        return cache
    return _first(stage, row.position, beyond=True)


def _stale(row: _Compared, held: _Held) -> FirstStage | None:
    """The first layer where a run's cache does not hold the key and value that it computes at this position."""
    if row.position >= held.rel.shape[1]:
        return None
    runs: tuple[tuple[Run, Row], ...] = (("a", row.a), ("b", row.b))
    for layer in range(len(held.rel)):
        for run, its_row in runs:
            computed = _key_and_value(its_row, layer)
            kept = held.of(run)[layer][row.position]
            if computed is not None and float(_rel(computed[None], kept[None])) > held.tolerance:
                off = real(apart(computed, kept).rel)
                return _first_cached(held, layer, row.position, off, run)
    return None


def _key_and_value(row: Row, layer: int) -> Tensor | None:
    key, value = row.stages.get((layer, "k_rot")), row.stages.get((layer, "v"))
    return None if key is None or value is None else torch.stack((key.double(), value.double().view_as(key)))


def _first_at_all(row: _Compared, held: _Held) -> FirstStage | None:
    """The first stage that differs at all, by no more than rounding; None when every bit is equal."""
    stage = next((each for each in row.differences if each.max_abs != 0), None)
    cached = held.first_at_all()
    if cached is not None and (stage is None or _rank(cached[0], KV) < _rank(stage.layer, stage.stage)):
        layer, position = cached
        return _first_cached(held, layer, position, None, None)
    return None if stage is None else _first(stage, row.position, beyond=False)


def _first(stage: StageDifference, position: int, *, beyond: bool) -> FirstStage:
    return FirstStage(
        stage.layer,
        stage.stage,
        position,
        stage.max_abs,
        stage.rel,
        stage.cosine,
        stage.own_rel,
        stage.floor,
        beyond,
    )


def _first_cached(held: _Held, layer: int, position: int, own: Real, run: Run | None) -> FirstStage:
    """The cache at one place; `own` is how far `run` keeps there something else than it computes."""
    whole = apart(held.a[layer][position], held.b[layer][position])
    return FirstStage(
        layer, KV, position, real(whole.max_abs), real(whole.rel), whole.cosine, own, held.tolerance,
        run is not None, run,
    )  # fmt: skip


def _rank(layer: int, stage: str) -> tuple[int, int]:
    """Where a stage comes in a pass; `kv` just before the attention that reads it."""
    if layer != OUTSIDE:
        return layer, ORDER.index(stage)
    return (-1, FIRST_STAGES.index(stage)) if stage in FIRST_STAGES else (1 << 30, LAST_STAGES.index(stage))
