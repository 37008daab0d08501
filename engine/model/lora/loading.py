"""Adapters on their way into a model: beside its weights, or merged into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from engine.adapters import AdapterAsked, parse_adapters
from engine.model.config import ModelConfig, read_config
from engine.model.decoder import Decoder
from engine.model.errors import ModelError
from engine.model.lora.adapter import Adapter, Adapters, load_adapter
from engine.model.projection import Place, Projection
from engine.model.weights import load_decoder, plain


def load_adapters(asked: Sequence[str], model: ModelConfig) -> Adapters:
    """The adapters that requests may name. Raises OptionError or ModelError, in one line."""
    return Adapters({each.name: load_adapter(each.folder, model) for each in _of_kind(asked, merged=False)})


def merged_in(asked: Sequence[str]) -> tuple[AdapterAsked, ...]:
    """The adapters that become part of the weights."""
    return _of_kind(asked, merged=True)


def load_merged(folder: Path, dtype: torch.dtype, adapters: Sequence[AdapterAsked]) -> Decoder:
    """The model in `folder` with `adapters` added to its weights: W + scale · B A. Raises ModelError."""
    config = read_config(folder)
    if config.layout is not None and adapters:
        raise ModelError(
            f"{folder}: its weights are quantized ({config.layout.name}), so adapter {adapters[0].name} cannot be"
            f" merged into them: leave out its ,merged and name it in requests"
        )
    if not adapters:
        return load_decoder(folder, dtype)
    loaded = [load_adapter(each.folder, config) for each in adapters]

    def make(place: Place, weight: Tensor, bias: Tensor | None) -> Projection:
        return plain(place, merged(place, weight, loaded), bias)

    return load_decoder(folder, dtype, make)


def merged(place: Place, weight: Tensor, adapters: Sequence[Adapter]) -> Tensor:
    """`weight [out, in]` with what `adapters` add at `place`: summed in float32, rounded once."""
    changes = [each.changes[place] for each in adapters if place in each.changes]
    if not changes:
        return weight
    added = sum((change.dense(weight.shape[0]) for change in changes), torch.zeros(()))
    return (weight.float() + added).to(weight.dtype)


def with_adapters(decoder: Decoder, adapters: Adapters) -> Decoder:
    """The same model on the same weights, whose rows may run with `adapters`."""
    return replace(decoder, adapters=adapters)


def _of_kind(asked: Sequence[str], merged: bool) -> tuple[AdapterAsked, ...]:
    return tuple(each for each in parse_adapters(asked) if each.merged == merged)
