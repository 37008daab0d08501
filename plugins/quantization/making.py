"""From a method's options to a model's weights in fewer bits, and what `load_decoder` makes projections with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from engine.model.config import read_config
from engine.model.decoder import Decoder
from engine.model.projection import MakeProjection, Place, Projection
from engine.model.weights import load_decoder, plain
from engine.option_error import OptionError
from plugins.quantization import int8, nf4
from plugins.quantization.awq import awq, shared_by_heads
from plugins.quantization.calibration import read_sequences
from plugins.quantization.forms import Form, projection_of
from plugins.quantization.gptq import gptq
from plugins.quantization.grid import round_to_nearest
from plugins.quantization.options import (
    AwqOptions,
    Calibrated,
    GptqOptions,
    Int4Options,
    Int8Options,
    Nf4Options,
    W8A8Options,
    Where,
)
from plugins.quantization.sequential import Quantize, Told, quantize_in_order
from plugins.quantization.statistics import Statistics

Forms = Callable[[Place, Tensor], Form | None]
"""From a place and its weight `[out, in]` to the weight in fewer bits; None where it stays as it is."""


def make_projections(
    folder: Path, dtype: torch.dtype, options: Where, told: Told | None = None
) -> MakeProjection:
    """What `load_decoder` is given to load `folder` in `dtype` with its projections quantized."""
    form_of = make_forms(folder, dtype, options, told)

    def make(place: Place, weight: Tensor, bias: Tensor | None) -> Projection:
        form = form_of(place, weight)
        return plain(place, weight, bias) if form is None else projection_of(form, bias, weight.dtype)

    return make


def make_forms(folder: Path, dtype: torch.dtype, options: Where, told: Told | None = None) -> Forms:
    """The weights of `folder` in fewer bits; methods that calibrate run the model in `dtype` for it."""
    config = read_config(folder)
    options.check(config.layers)
    if isinstance(options, Calibrated):
        sequences = read_sequences(folder, options, config)
        decoder = load_decoder(folder, dtype)
        quantize = _calibrated(decoder, options)
        found = quantize_in_order(decoder, sequences, options, quantize, told or _untold)
        return lambda place, _weight: found.pop(place, None)
    return lambda place, weight: _rounded(place, weight, options) if options.covers(*place) else None


def _rounded(place: Place, weight: Tensor, options: Where) -> Form:
    match options:
        case W8A8Options():
            return int8.round_to_nearest(weight, activations=True)
        case Int8Options():
            return int8.round_to_nearest(weight)
        case Int4Options(group=group, symmetric=symmetric):
            _check_fit("group", group, place, weight)
            return round_to_nearest(weight, group, symmetric)
        case Nf4Options(block=block, double=double):
            _check_fit("block", block, place, weight)
            return nf4.round_to_nearest(weight, block, double)
    raise AssertionError(options)


def _calibrated(decoder: Decoder, options: Calibrated) -> Quantize:
    """Ranges of q, k and v are not narrowed by AWQ: scores are products of two of them."""
    config = decoder.config

    def quantize(place: Place, weight: Tensor, statistics: Statistics) -> Form:
        _check_fit("group", options.group, place, weight)
        if isinstance(options, GptqOptions):
            return gptq(weight, statistics, options)
        assert isinstance(options, AwqOptions)
        magnitude = statistics.magnitude / statistics.rows
        if place.name == "o":
            magnitude = shared_by_heads(magnitude, config.kv_heads, config.head_dim)
        return awq(weight, magnitude, statistics.gram, options, clip=place.name != "qkv")

    return quantize


def _check_fit(option: str, size: int, place: Place, weight: Tensor) -> None:
    if weight.shape[1] % size:
        raise OptionError(
            f"{option} is {size}: it does not divide the {weight.shape[1]} inputs of {place.name}:"
            " give a smaller one"
        )


def _untold(_done: int, _total: int) -> None:
    """Nobody wants to know."""
