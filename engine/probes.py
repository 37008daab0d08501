"""What to look at in a forward pass and what to change: specs over stage names, for `engine.observe`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from engine.model.batch import Batch
from engine.model.config import ModelConfig
from engine.model.stage_names import ATTENTION_STAGES, is_point


class ProbeError(ValueError):
    """A probe or intervention at a place that the model or the batch does not have."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Keep a copy of a stage: the rows of one request, or of all."""

    layer: int
    stage: str
    request: str | None = None


@dataclass(frozen=True, slots=True)
class PatternProbe:
    """Compute what some heads of a layer attend to, for some of a request's tokens.

    `rows` counts within the tokens of the request that this batch computes; None is all of them, as None is
    all heads. The cost is heads x rows x positions, so ask for what is looked at.
    """

    layer: int
    request: str
    heads: tuple[int, ...] | None = None
    rows: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Intervention:
    """Replace a stage by `change` of it: the rows of one request, or of all.

    `change` gets the stage's tensor and returns one of the same shape. On `attn_scores` and `attn_pattern`
    it is called once a request with `[heads, tokens, kv]`, and that layer computes attention explicitly.
    """

    layer: int
    stage: str
    change: Callable[[Tensor], Tensor]
    request: str | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """Attention of the asked heads and rows, float32 `[heads, rows, kv]`, computed beside the kernel.

    `check` is max|pattern · V - attn_out|: how far the pattern is from explaining what the kernel gave.
    """

    scores: Tensor
    pattern: Tensor
    check: float


@dataclass(frozen=True, slots=True)
class Observation:
    """A finished forward pass: `logits [rows, vocab]`, and what was asked for by the probe that asked.

    `explicit` are the layers whose attention was computed explicitly, because of an intervention on it.
    """

    logits: Tensor
    captured: Mapping[Probe, Tensor]
    patterns: Mapping[PatternProbe, Pattern]
    explicit: frozenset[int]


def check(asked: Iterable[Probe | PatternProbe | Intervention], config: ModelConfig, batch: Batch) -> None:
    """Raises `ProbeError` unless all that is asked exists in a model of `config` and in `batch`."""
    requests = {span.request: span for span in batch.spans}
    for item in asked:
        if item.request is not None and item.request not in requests:
            raise ProbeError(f"request {item.request!r} is not in this batch")
        if isinstance(item, PatternProbe):
            _within("layer", (item.layer,), config.layers)
            _within("head", item.heads or (), config.heads)
            _within("row", item.rows or (), requests[item.request].tokens)
        elif not is_point(item.layer, item.stage, config.layers):
            raise ProbeError(f"layer {item.layer} has no stage {item.stage!r}: there are {config.layers} layers")
        elif isinstance(item, Probe) and item.stage in ATTENTION_STAGES:
            raise ProbeError(f"{item.stage} has no row for each token: ask for it with a PatternProbe")


def _within(name: str, indices: Iterable[int], count: int) -> None:
    for index in indices:
        if not 0 <= index < count:
            raise ProbeError(f"{name} {index} does not exist: there are {count}, from 0 on")
