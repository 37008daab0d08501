"""What `bench-spec` found, as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from plugins.speculative.timing import Timed


class DraftResult(msgspec.Struct, frozen=True):
    """One method. `speed_up` is the median of plain time over its own, pair by pair; the quartiles are beside it.

    `same_output` says how many of the `outputs` have the tokens of plain decoding; null where they are drawn.
    """

    method: str
    drafted: int
    accepted: int
    acceptance: float
    tokens_per_forward: float
    tokens_per_s: float
    speed_up: float
    speed_up_low: float
    speed_up_high: float
    outputs: int
    same_output: int | None


class SpecResult(msgspec.Struct, frozen=True, kw_only=True):
    """Methods beside plain decoding, on the same prompts and in turn."""

    model: str
    dtype: str
    threads: int
    text: str
    prompts: int
    prompt_tokens: int
    max_tokens: int
    rounds: int
    temperature: float
    plain_tokens_per_s: float
    methods: tuple[DraftResult, ...]


def result_of(timed: Sequence[Timed], methods: Sequence[str], *, temperature: float, **about: Any) -> SpecResult:
    """Pair each request of a method with the plain one of its prompt and turn."""
    by_method: Mapping[str, list[Timed]] = {
        method: [one for one in timed if one.method == method] for method in ("", *methods)
    }
    plain = by_method[""]
    return SpecResult(
        temperature=temperature,
        plain_tokens_per_s=_speed(plain),
        methods=tuple(_result(method, by_method[method], plain, drawn=temperature > 0) for method in methods),
        **about,
    )


def _result(method: str, found: Sequence[Timed], plain: Sequence[Timed], *, drawn: bool) -> DraftResult:
    pairs = list(zip(found, plain, strict=True))
    gains = [(other.seconds / other.decoded) / (one.seconds / one.decoded) for one, other in pairs]
    low, high = (min(gains), max(gains)) if len(gains) < 4 else quantiles(gains, n=4)[::2]
    drafted, accepted = sum(one.drafted for one in found), sum(one.accepted for one in found)
    same = sum(one.tokens == other.tokens for one, other in pairs)
    return DraftResult(
        method=method, drafted=drafted, accepted=accepted, acceptance=accepted / drafted if drafted else 0.0,
        tokens_per_forward=sum(one.decoded for one in found) / sum(one.passes for one in found),
        tokens_per_s=_speed(found), speed_up=median(gains), speed_up_low=low, speed_up_high=high,
        outputs=len(pairs), same_output=None if drawn else same,
    )  # fmt: skip


def _speed(found: Sequence[Timed]) -> float:
    return sum(one.decoded for one in found) / sum(one.seconds for one in found)


__all__ = ["DraftResult", "SpecResult", "result_of"]
