"""What is recorded about the choice of one token, and its packed form: one row of bytes for a whole step.

Plain data, without numpy or torch, because the session file's reader and the screens import it.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec

__all__ = [
    "FILTERS",
    "MAX_CANDIDATES",
    "MEANINGS",
    "STAGES",
    "TRANSFORMS",
    "Candidates",
    "DetailsError",
    "Stage",
    "StageResult",
    "TokenDetails",
    "pack_step",
    "unpack_step",
]

BuiltInStage = Literal[
    "logit_bias", "repetition", "presence", "frequency", "temperature", "top_k", "top_p", "min_p"
]
Stage = str
"""A stage that is built in, or the name of the plugin whose logits processor it is."""
TRANSFORMS: Final[tuple[BuiltInStage, ...]] = ("logit_bias", "repetition", "presence", "frequency", "temperature")
"""Stages that change logits, in the order they run."""
FILTERS: Final[tuple[BuiltInStage, ...]] = ("top_k", "top_p", "min_p")
"""Stages that remove candidates, in the order they run after the transforms."""
LOG_SOFTMAX: Final = "log_softmax"
"""The stage that turns logits into log-probabilities, whose sums beam searches compare."""
STAGES: Final[tuple[BuiltInStage, ...]] = TRANSFORMS + FILTERS
MEANINGS: Final[dict[BuiltInStage, str]] = {
    "logit_bias": "added to the logits of named tokens",
    "repetition": "logits of tokens of prompt and output divided, or multiplied below 0",
    "presence": "taken from tokens of the output",
    "frequency": "taken from tokens of the output for each time they came",
    "temperature": "all logits divided by it",
    "top_k": "the k likeliest stay",
    "top_p": "the likeliest that make up p of the probability stay",
    "min_p": "what is at least min_p times as likely as the first stays",
}

MAX_CANDIDATES: Final = 20
"""How many of the largest raw logits are kept of each token; the chosen one comes on top if outside."""


class DetailsError(ValueError):
    """Packed details that cannot be read: another version, or damaged."""


class StageResult(msgspec.Struct, frozen=True):
    """One sampler stage that ran.

    `setting` is the request's number for it (for `logit_bias` and processors: how many tokens), `kept` the
    candidates left after it. `threshold` is what a filter compared with: the k-th largest logit, the
    cumulative probability p, or min_p times the largest probability; 0 for a transform.
    """

    stage: Stage
    setting: float
    kept: int
    threshold: float = 0.0


class Candidates(msgspec.Struct, frozen=True):
    """Columns over the candidates of one token, in order of descending raw logit, ties by token id.

    `values` has one column for each transform that ran: the logit after it. `prob` is the final
    probability, 0 where removed. `removed_by` is 0 for a kept candidate, else 1 + the index in STAGES of
    the filter that removed it, and `number` is what that filter found: the rank (top_k), the cumulative
    probability before it (top_p) or its probability (min_p).
    """

    ids: array[int]
    raw: array[float]
    values: tuple[array[float], ...]
    prob: array[float]
    removed_by: array[int]
    number: array[float]

    def __len__(self) -> int:
        return len(self.ids)

    def removing_stage(self, row: int) -> Stage | None:
        """The filter that removed this candidate, or None."""
        code = self.removed_by[row]
        return STAGES[code - 1] if code else None


class TokenDetails(msgspec.Struct, frozen=True):
    """Why this token: the distribution it was chosen from, and how the choice fell.

    *Raw* is the model's distribution, *processed* what the stages left of it. `rank` (from 1), `entropy`
    and `varentropy` are of the raw one; logarithms are natural. `margin` is the distance between the two
    largest processed logits (infinite if there is one candidate). `interval` is the chosen token's
    [low, high) on the cumulative distribution of the kept candidates, which holds `draw`; a greedy choice
    has neither, and where a draft was judged there is a draw alone. `logits_hash` is xxh3_64 of the row's
    float32 bytes.
    """

    request: str
    position: int
    token: int
    rank: int
    raw_lse: float
    raw_logprob: float
    processed_lse: float
    processed_logprob: float
    entropy: float
    varentropy: float
    margin: float
    draw: float | None
    interval: tuple[float, float] | None
    near_tie: bool
    logits_hash: int
    stages: tuple[StageResult, ...]
    candidates: Candidates

    @property
    def probability(self) -> float:
        """The probability with which this token was to be chosen."""
        return math.exp(self.processed_logprob)

    @property
    def transforms(self) -> tuple[Stage, ...]:
        """The transforms that ran: the names of the columns in `candidates.values`."""
        return tuple(result.stage for result in self.stages if result.stage not in FILTERS)


Column = TypeVar("Column", "array[int]", "array[float]")

_PLAIN = 1
_WITH_PLUGINS = 2
_STEP = struct.Struct("<BH")
_TOKEN = struct.Struct("<HBBHqiiQ10d")
_STAGE = struct.Struct("<BIdd")
_SAMPLED = 1
_NEAR_TIE = 2
_DRAFTED = 4
_PLUGINS = 255


def pack_step(details: Sequence[TokenDetails]) -> bytes:
    """All tokens of one step as bytes, little endian, read back by `unpack_step`.

    ```
    step     version u8 = 1, or 2 where a stage is a plugin's | tokens u16 | token ...
    token    request length u16 | flags u8 (1 sampled, 2 near tie, 4 draft judged) | stages u8 | candidates u16
             position i64 | token i32 | rank i32 | logits hash u64
             raw lse, raw logprob, processed lse, processed logprob, entropy, varentropy, margin,
             draw, interval low, interval high: f64 each
             request id utf-8 | stage ... | ids i32[n] | raw f32[n] | f32[n] for each transform
             prob f32[n] | if a filter ran: removed by u8[n], number f32[n]
    stage    index in STAGES u8 | kept u32 | setting f64 | threshold f64 | where the index is 255, the
             plugin's name: length u8, utf-8
    ```
    """
    plugins = any(stage.stage not in STAGES for token in details for stage in token.stages)
    parts = [_STEP.pack(_WITH_PLUGINS if plugins else _PLAIN, len(details))]
    for token in details:
        _pack_token(token, parts)
    return b"".join(parts)


def unpack_step(data: bytes) -> list[TokenDetails]:
    """The tokens that `pack_step` packed. Raises DetailsError where the bytes are not that."""
    try:
        version, count = _STEP.unpack_from(data)
        if version not in (_PLAIN, _WITH_PLUGINS):
            raise DetailsError(f"token details of version {version}: this program reads version {_WITH_PLUGINS}")
        reader = _Reader(data, _STEP.size)
        details = [_unpack_token(reader) for _ in range(count)]
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise DetailsError(f"token details are damaged: {error}") from error
    if reader.offset != len(data):
        raise DetailsError(f"token details are damaged: {len(data) - reader.offset} bytes left over")
    return details


def _pack_token(token: TokenDetails, parts: list[bytes]) -> None:
    name = token.request.encode()
    flags = (_SAMPLED if token.draw is not None else 0) | (_NEAR_TIE if token.near_tie else 0)
    if token.draw is not None and token.interval is None:
        flags |= _DRAFTED
    low, high = token.interval or (0.0, 0.0)
    parts.append(
        _TOKEN.pack(
            len(name), flags, len(token.stages), len(token.candidates), token.position, token.token,
            token.rank, token.logits_hash, token.raw_lse, token.raw_logprob, token.processed_lse,
            token.processed_logprob, token.entropy, token.varentropy, token.margin, token.draw or 0.0, low, high,
        )
    )  # fmt: skip
    parts.append(name)
    parts.extend(map(_pack_stage, token.stages))
    columns = token.candidates
    parts.append(_little_endian(columns.ids))
    parts.extend(map(_little_endian, (columns.raw, *columns.values, columns.prob)))
    if _filtered(token.stages):
        parts.extend((columns.removed_by.tobytes(), _little_endian(columns.number)))


def _pack_stage(result: StageResult) -> bytes:
    for index, stage in enumerate(STAGES):
        if stage == result.stage:
            return _STAGE.pack(index, result.kept, result.setting, result.threshold)
    name = result.stage.encode()
    numbers = _STAGE.pack(_PLUGINS, result.kept, result.setting, result.threshold)
    return numbers + bytes((len(name),)) + name


def _unpack_token(reader: _Reader) -> TokenDetails:
    (
        name_length, flags, stage_count, n, position, token, rank, logits_hash,
        raw_lse, raw_logprob, processed_lse, processed_logprob, entropy, varentropy, margin, draw, low, high,
    ) = reader.unpack(_TOKEN)  # fmt: skip
    sampled = bool(flags & _SAMPLED)
    request = reader.take(name_length).decode()
    stages = tuple(_unpack_stage(reader) for _ in range(stage_count))
    return TokenDetails(
        request=request,
        position=position,
        token=token,
        rank=rank,
        raw_lse=raw_lse,
        raw_logprob=raw_logprob,
        processed_lse=processed_lse,
        processed_logprob=processed_logprob,
        entropy=entropy,
        varentropy=varentropy,
        margin=margin,
        draw=draw if sampled else None,
        interval=(low, high) if sampled and not flags & _DRAFTED else None,
        near_tie=bool(flags & _NEAR_TIE),
        logits_hash=logits_hash,
        stages=stages,
        candidates=_unpack_candidates(reader, n, stages),
    )


def _unpack_stage(reader: _Reader) -> StageResult:
    index, kept, setting, threshold = reader.unpack(_STAGE)
    stage = reader.take(reader.take(1)[0]).decode() if index == _PLUGINS else STAGES[index]
    return StageResult(stage, setting, kept, threshold)


def _unpack_candidates(reader: _Reader, n: int, stages: tuple[StageResult, ...]) -> Candidates:
    filtered = _filtered(stages)
    return Candidates(
        ids=reader.ints(n),
        raw=reader.floats(n),
        values=tuple(reader.floats(n) for result in stages if result.stage not in FILTERS),
        prob=reader.floats(n),
        removed_by=array("B", reader.take(n) if filtered else bytes(n)),
        number=reader.floats(n) if filtered else array("f", bytes(4 * n)),
    )


def _filtered(stages: tuple[StageResult, ...]) -> bool:
    return any(result.stage in FILTERS for result in stages)


class _Reader:
    """A position in packed bytes; every read is checked against their end."""

    def __init__(self, data: bytes, offset: int) -> None:
        self.data = data
        self.offset = offset

    def take(self, length: int) -> bytes:
        end = self.offset + length
        if end > len(self.data):
            raise DetailsError(f"token details are damaged: they end {end - len(self.data)} bytes early")
        taken = self.data[self.offset : end]
        self.offset = end
        return taken

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def floats(self, n: int) -> array[float]:
        return _native_order(array("f", self.take(4 * n)))

    def ints(self, n: int) -> array[int]:
        return _native_order(array("i", self.take(4 * n)))


def _little_endian(column: array[int] | array[float]) -> bytes:
    if _SWAP:
        column = column[:]
        column.byteswap()
    return column.tobytes()


def _native_order(column: Column) -> Column:
    if _SWAP:
        column.byteswap()
    return column


_SWAP = sys.byteorder == "big"
