"""Taking AWQ's scales out of what comes before a projection, so that a plain model carries them.

    qkv      <- the norm before attention          o    <- the rows of v
    gate_up  <- the norm before the MLP            down <- the rows of up

A projection multiplied its weight's columns by `scale`; whatever makes its inputs is divided by it.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from engine.model.config import ModelConfig
from plugins.quantization.forms import Form
from plugins.quantization.grid import Codes, ScaledCodes

Weights = dict[str, "Form | Tensor"]
"""The parts of one layer by their names within it, without `.weight`; norms and biases as tensors."""

BEFORE_NORM = {
    "self_attn.q_proj": "input_layernorm",
    "self_attn.k_proj": "input_layernorm",
    "self_attn.v_proj": "input_layernorm",
    "mlp.gate_proj": "post_attention_layernorm",
    "mlp.up_proj": "post_attention_layernorm",
}


def fold(layer: Weights, config: ModelConfig) -> Weights:
    """The same layer with no scales left: what it computes stays, but for rounding."""
    folded = dict(layer)
    for name, norm in BEFORE_NORM.items():
        form = layer[name]
        if isinstance(form, ScaledCodes):
            norm_weight = layer[norm]
            assert isinstance(norm_weight, Tensor)
            folded[name] = form.codes
            folded[norm] = norm_weight.float() / form.scale
    _fold_rows(folded, "mlp.down_proj", "mlp.up_proj", None)
    _fold_rows(folded, "self_attn.o_proj", "self_attn.v_proj", config)
    return folded


def _fold_rows(layer: Weights, name: str, source: str, grouped: ModelConfig | None) -> None:
    """Divide the outputs of `source` by the scales of `name`'s inputs."""
    form = layer[name]
    if not isinstance(form, ScaledCodes):
        return
    scale = form.scale if grouped is None else _of_kv_heads(form.scale, grouped)
    layer[name] = form.codes
    layer[source] = _rows_divided(layer[source], scale)
    bias = layer.get(f"{source}.bias")
    if isinstance(bias, Tensor):
        layer[f"{source}.bias"] = bias.float() / scale


def _of_kv_heads(scale: Tensor, config: ModelConfig) -> Tensor:
    """Heads that share a KV head share their scales: those of the first of each."""
    return scale.view(config.kv_heads, -1, config.head_dim)[:, 0].flatten()


def _rows_divided(weight: Form | Tensor, scale: Tensor) -> Form | Tensor:
    if isinstance(weight, Tensor):
        return (weight.float() / scale[:, None]).to(weight.dtype)
    assert isinstance(weight, Codes)
    return replace(weight, scale=weight.scale.float() / scale[:, None])
