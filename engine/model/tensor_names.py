"""The tensors a model of a given config must have: their names in the checkpoint and their shapes. No torch."""

from __future__ import annotations

from engine.model.config import ModelConfig

Shape = tuple[int, ...]

EMBED = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
LM_HEAD = "lm_head.weight"
WEIGHT = ".weight"


def layer_prefix(layer: int) -> str:
    return f"model.layers.{layer}."


def layer_tensors(config: ModelConfig) -> dict[str, Shape]:
    """Names within a layer (without its prefix) and shapes, weights as `[out, in]`."""
    hidden, inner = config.hidden_size, config.intermediate_size
    q, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
    shapes: dict[str, Shape] = {"input_layernorm.weight": (hidden,), "post_attention_layernorm.weight": (hidden,)}
    projections = {
        "self_attn.q_proj": (q, hidden, config.qkv_bias),
        "self_attn.k_proj": (kv, hidden, config.qkv_bias),
        "self_attn.v_proj": (kv, hidden, config.qkv_bias),
        "self_attn.o_proj": (hidden, q, config.o_bias),
        "mlp.gate_proj": (inner, hidden, config.mlp_bias),
        "mlp.up_proj": (inner, hidden, config.mlp_bias),
        "mlp.down_proj": (hidden, inner, config.mlp_bias),
    }
    for name, (rows, columns, bias) in projections.items():
        shapes[f"{name}.weight"] = (rows, columns)
        if bias:
            shapes[f"{name}.bias"] = (rows,)
    if config.qk_norm:
        shapes |= {"self_attn.q_norm.weight": (config.head_dim,), "self_attn.k_norm.weight": (config.head_dim,)}
    return shapes


def expected_tensors(config: ModelConfig) -> dict[str, Shape]:
    """Every tensor of the checkpoint by its full name; a tied model needs no `lm_head.weight`."""
    shapes: dict[str, Shape] = {EMBED: (config.vocab_size, config.hidden_size), FINAL_NORM: (config.hidden_size,)}
    if not config.tie_word_embeddings:
        shapes[LM_HEAD] = (config.vocab_size, config.hidden_size)
    for layer in range(config.layers):
        shapes |= {layer_prefix(layer) + name: shape for name, shape in layer_tensors(config).items()}
    return shapes


def is_projection(name: str) -> bool:
    """Whether it names the weight of a projection."""
    return name.endswith("_proj.weight") or name == LM_HEAD


def may_be_ignored(name: str) -> bool:
    """Whether a tensor we do not expect changes nothing: what can be computed, or a tied copy."""
    return name.endswith("rotary_emb.inv_freq") or name == LM_HEAD
