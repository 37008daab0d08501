"""What quantizing a model did to it, as a document: for the command line, screens and the cache. No torch."""

from __future__ import annotations

import msgspec


class TensorError(msgspec.Struct, frozen=True):
    """How far a tensor is from the one it stands for. `channel` is the output that is furthest off."""

    tensor: str
    relative: float
    cosine: float
    channel: int
    channel_relative: float


class Histogram(msgspec.Struct, frozen=True):
    """Weights in units of their own group's grid, in bins of equal width from `first` to `last`.

    `levels` lie in the same units. `outside` counts weights beyond both ends, which the grid clips.
    """

    tensor: str
    first: float
    last: float
    counts: tuple[int, ...]
    levels: tuple[float, ...]
    outside: int


class LayerError(msgspec.Struct, frozen=True):
    """One layer (-1 is the output matrix): its weights, and the residual stream behind it.

    `stream_relative` is the error of the stream in the model whose layers are all quantized, None for -1.
    `alone` is the mean KL when only this layer is quantized, `all_but` when every other one is: on request.
    """

    layer: int
    relative: float
    cosine: float
    stream_relative: float | None
    tensors: tuple[TensorError, ...]
    histograms: tuple[Histogram, ...]
    alone: float | None = None
    all_but: float | None = None


class Flip(msgspec.Struct, frozen=True):
    """A position whose likeliest token changed. `margin` is by how much, in logits, it led before."""

    position: int
    full: int
    quantized: int
    full_text: str
    quantized_text: str
    margin: float


class Outlier(msgspec.Struct, frozen=True):
    """A channel of activations much larger than others: its largest magnitude, and that over their median."""

    layer: int
    stage: str
    channel: int
    largest: float
    times_median: float


class Baseline(msgspec.Struct, frozen=True):
    """The model as it is. `bytes` are of all weights in the compute type, `embedding_bytes` among them."""

    perplexity: float
    bytes: int
    embedding_bytes: int
    outliers: tuple[Outlier, ...]


class MethodResult(msgspec.Struct, frozen=True):
    """One method. `quantized_before` and `quantized_after` are bytes of the weights that changed form.

    `kl` has the mean of `kl_positions` positions in each number; the last may be of fewer. `blame` has layers,
    the one that did most harm first, by `blamed_by`. `flips` are those with the largest margins.
    """

    method: str
    perplexity: float
    bytes: int
    embedding_bytes: int
    weights: int
    quantized_before: int
    quantized_after: int
    bits_per_weight: float
    kl_mean: float
    kl_largest: float
    kl: tuple[float, ...]
    kl_positions: int
    top1_agreement: float
    flipped: int
    flips: tuple[Flip, ...]
    layers: tuple[LayerError, ...]
    blame: tuple[int, ...]
    blamed_by: str


class Measured(msgspec.Struct, frozen=True):
    """A method beside the model as it is, on the same text: what is kept between runs."""

    baseline: Baseline
    method: MethodResult


class QuantizationResult(msgspec.Struct, frozen=True):
    """Methods compared on a text. `positions` were predicted, each once, in windows of `window` tokens that
    begin `stride` tokens after each other."""

    model: str
    dtype: str
    text: str
    tokens: int
    positions: int
    window: int
    stride: int
    baseline: Baseline
    methods: tuple[MethodResult, ...]
