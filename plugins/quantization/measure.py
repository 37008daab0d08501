"""One method on one model: what it does to the weights, to the residual stream and to predictions of a text."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from engine.model.config import read_config
from engine.model.decoder import Decoder
from engine.model.projection import Place, Projection
from engine.model.stage_names import OUTSIDE
from engine.model.weights import load_decoder
from engine.option_error import OptionError
from engine.quantization_result import Baseline, Flip, LayerError, Measured, MethodResult
from plugins.quantization.making import make_forms
from plugins.quantization.measure_text import Comparing, Flipped, Predicted
from plugins.quantization.measure_weights import PlaceError, Sums, Weighing
from plugins.quantization.measure_windows import Window
from plugins.quantization.options import Where
from plugins.quantization.sequential import IN_ORDER, Told

MOST_STRETCHES = 4096
BY_KL = "mean KL with this layer quantized alone"
BY_WEIGHTS = "relative error of its weights"

TokenText = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Asked:
    """What to measure: the method as it was written, and whether each layer is to be tried by itself."""

    folder: Path
    dtype: torch.dtype
    method: str
    options: Where
    windows: Sequence[Window]
    each: bool = False


@dataclass(frozen=True, slots=True)
class Quantized:
    """The model by the method, and what that did to each projection."""

    decoder: Decoder
    found: Mapping[Place, PlaceError]


def quantize(asked: Asked, told: Told) -> Quantized:
    """`told` hears of calibration. Raises ModelError or OptionError."""
    form_of = make_forms(asked.folder, asked.dtype, asked.options, told)
    weighing = Weighing(read_config(asked.folder), form_of)
    decoder = load_decoder(asked.folder, asked.dtype, weighing.maker())
    if not weighing.found:
        raise OptionError(f"{asked.method} quantizes no projection: keep fewer of them")
    return Quantized(decoder, weighing.found)


def measure(asked: Asked, made: Quantized, token_text: TokenText, told: Told) -> Measured:
    """Predict the text with both models; `told` hears of windows."""
    full, quantized = load_decoder(asked.folder, asked.dtype), made.decoder
    layers = sorted({place.layer for place in made.found}, key=lambda layer: (layer == OUTSIDE, layer))
    models = [quantized]
    if asked.each:
        models += [mixed(full, quantized, layer) for layer in layers]
        models += [mixed(quantized, full, layer) for layer in layers]
    comparing = Comparing(full, models)
    comparing.run(asked.windows, told)
    errors = tuple(_layer_error(layer, at, layers, made.found, comparing) for at, layer in enumerate(layers))
    return Measured(
        Baseline(comparing.perplexity, weight_bytes(full), full.embed.nbytes, comparing.outliers()),
        _result(asked, made, comparing.predicted[0], errors, token_text),
    )


def mixed(most: Decoder, other: Decoder, layer: int) -> Decoder:
    """`most` with one layer, or for -1 the output matrix, of `other`."""
    if layer == OUTSIDE:
        return replace(most, lm_head=other.lm_head)
    layers = [*most.layers]
    layers[layer] = other.layers[layer]
    return replace(most, layers=tuple(layers))


def weight_bytes(decoder: Decoder) -> int:
    """Bytes of all weights as they are kept in memory: a tied output matrix beside its embedding."""
    total = decoder.embed.nbytes + decoder.final_norm.weight.nbytes + decoder.lm_head.nbytes
    for layer in decoder.layers:
        projections: list[Projection] = [getattr(layer, name) for name in IN_ORDER]
        norms = [
            norm for norm in (layer.attn_norm, layer.mlp_norm, layer.q_norm, layer.k_norm) if norm is not None
        ]
        total += sum(each.nbytes for each in projections) + sum(norm.weight.nbytes for norm in norms)
    return total


def _layer_error(
    layer: int, at: int, layers: Sequence[int], found: Mapping[Place, PlaceError], comparing: Comparing
) -> LayerError:
    places = [found[place] for place in _places(layer) if place in found]
    tried = comparing.predicted[1:]
    whole = _sum(places)
    return LayerError(
        layer, whole.relative, whole.cosine,
        None if layer == OUTSIDE else comparing.streams[layer].relative,
        tuple(tensor for place in places for tensor in place.tensors),
        tuple(histogram for place in places for histogram in place.histograms),
        alone=tried[at].kl_mean if tried else None,
        all_but=tried[len(layers) + at].kl_mean if tried else None,
    )  # fmt: skip


def _places(layer: int) -> list[Place]:
    return [Place(OUTSIDE, "lm_head")] if layer == OUTSIDE else [Place(layer, name) for name in IN_ORDER]


def _sum(places: Sequence[PlaceError]) -> Sums:
    sums = [place.sums for place in places]
    return Sums(*(sum(getattr(each, name) for each in sums) for name in ("error", "size", "other", "dot")))


def _result(
    asked: Asked, made: Quantized, predicted: Predicted, layers: Sequence[LayerError], token_text: TokenText
) -> MethodResult:  # fmt: skip
    found, quantized = made.found.values(), made.decoder
    weights, after = sum(place.weights for place in found), sum(place.after for place in found)
    kl, stretch = stretches(predicted.kl)
    blame = sorted(layers, key=lambda each: -(each.relative if each.alone is None else each.alone))
    return MethodResult(
        method=asked.method,
        perplexity=predicted.perplexity,
        bytes=weight_bytes(quantized),
        embedding_bytes=quantized.embed.nbytes,
        weights=weights,
        quantized_before=sum(place.before for place in found),
        quantized_after=after,
        bits_per_weight=8 * after / weights,
        kl_mean=predicted.kl_mean,
        kl_largest=max(predicted.kl),
        kl=kl,
        kl_positions=stretch,
        top1_agreement=1 - predicted.flipped / len(predicted.kl),
        flipped=predicted.flipped,
        flips=tuple(_flip(flip, token_text) for flip in sorted(predicted.flips, reverse=True)),
        layers=tuple(layers),
        blame=tuple(layer.layer for layer in blame),
        blamed_by=BY_KL if asked.each else BY_WEIGHTS,
    )


def _flip(flip: Flipped, text: TokenText) -> Flip:
    return Flip(
        flip.position, flip.full, flip.quantized, text(flip.full), text(flip.quantized), flip.margin
    )  # fmt: skip


def stretches(values: array[float]) -> tuple[tuple[float, ...], int]:
    """The means of at most `MOST_STRETCHES` stretches, and how many values each of them but the last has."""
    size = math.ceil(len(values) / MOST_STRETCHES)
    parts = (values[start : start + size] for start in range(0, len(values), size))
    return tuple(math.fsum(part) / len(part) for part in parts), size
