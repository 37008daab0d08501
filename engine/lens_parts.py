"""Direct logit attribution: which parts of the residual stream a token's logit is made of.

The final norm divides the row by one number. With that number as it was in the row, the norm is linear, and the
logit is the sum of what every part wrote into the stream: the embedding, each layer's attention and MLP
(Elhage et al., A Mathematical Framework for Transformer Circuits, 2021). Sums are in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from engine.model.decoder import Decoder
from engine.model.layer import Layer
from engine.model.linear import Linear
from engine.model.projection import Place, Projection


@dataclass(slots=True)
class Taken:
    """What one row wrote into the stream and what was there after each layer, as the pass computed it."""

    written: list[Tensor] = field(default_factory=list)  # embed, then attn_proj and mlp_out of each layer
    stream: list[Tensor] = field(default_factory=list)  # [hidden] after the embedding and after each layer
    heads: list[Tensor] = field(default_factory=list)  # [heads, head_dim] of each layer

    def take(self, layer: int, stage: str, row: Tensor) -> None:  # noqa: ARG002
        """Keep a copy of a stage's row, where it is needed."""
        if stage in ("embed", "attn_proj", "mlp_out"):
            self.written.append(row.clone())
        if stage in ("embed", "resid_post"):
            self.stream.append(row.clone())
        if stage == "attn_out":
            self.heads.append(row.clone())

    @property
    def residual(self) -> Tensor:
        """`[layers + 1, hidden]`"""
        return torch.stack(self.stream)

    @property
    def norms(self) -> Tensor:
        """`[layers + 1]`"""
        norms: Tensor = torch.linalg.vector_norm(self.residual.double(), dim=-1)
        return norms


class Parts(NamedTuple):
    """Shares of a logit, float64: a number, `[layers]` twice, and of the attention shares `[layers, heads]`."""

    embed: Tensor
    attn: Tensor
    mlp: Tensor
    heads: Tensor


def take_apart(decoder: Decoder, row: Taken, token: int, adapter: str = "") -> Parts:
    """The shares of `token`'s logit in `row`, which ran with `adapter`."""
    direction = _direction(decoder, row.stream[-1], token)
    shares = torch.stack(row.written).double() @ direction
    heads = [
        _head_outputs(decoder, layer, out, adapter).double() @ direction
        for layer, out in zip(decoder.layers, row.heads, strict=True)
    ]
    return Parts(shares[0], shares[1::2], shares[2::2], torch.stack(heads))


def _direction(decoder: Decoder, last: Tensor, token: int) -> Tensor:
    """`[hidden]`: what a vector in the stream is multiplied with to be its share of the token's logit."""
    mean_square = last.double().square().mean()
    scale = (mean_square + decoder.config.rms_norm_eps).rsqrt()
    return decoder.final_norm.weight.double() * _unembedding(decoder, token).double() * scale


def _unembedding(decoder: Decoder, token: int) -> Tensor:
    """`[hidden]`: the token's row of the unembedding, whatever layout it is kept in."""
    head = decoder.lm_head
    if decoder.config.tie_word_embeddings and isinstance(head, Linear):
        return decoder.embed[token]
    return head.dense()[token]


def _head_outputs(decoder: Decoder, layer: Layer, out: Tensor, adapter: str) -> Tensor:
    """`[heads, hidden]`: what each head writes into the stream, the projection's bias left out."""
    alone = torch.zeros(layer.heads, layer.heads, layer.head_dim, dtype=out.dtype)
    index = torch.arange(layer.heads)
    alone[index, index] = out
    x = alone.flatten(1)
    written = layer.o(x) - _bias(layer.o)
    decoder.adapters.add_(adapter, Place(layer.index, "o"), x, written)
    return written


def _bias(linear: Projection) -> Tensor | float:
    return 0.0 if linear.bias is None else linear.bias
