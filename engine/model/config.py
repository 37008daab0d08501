"""What a model folder's config.json says, checked and under one set of names. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.model.errors import ModelError
from engine.model.families import Family, family_of
from engine.model.json_fields import Fields, read_json
from engine.model.layouts import Layout, read_layout
from engine.model.rope_config import RopeConfig, read_rope
from engine.model.windows import read_windows

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of a decoder-only model.

    `windows` has one entry a layer: the number of latest positions it attends to, or None for all.
    `dtype` is the file's own name for the weights' type, None where it does not say.
    """

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope: RopeConfig
    windows: tuple[int | None, ...]
    tie_word_embeddings: bool
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    qk_norm: bool
    dtype: str | None
    bos_ids: tuple[int, ...]
    eos_ids: tuple[int, ...]
    layout: Layout | None = None
    """How projections are kept in fewer bits; None where weights are plain."""

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ModelError(f"config.json: {self.heads} heads cannot share {self.kv_heads} KV heads evenly")
        if self.head_dim % 2:
            raise ModelError(f"config.json: head_dim is {self.head_dim}: rotary embedding needs an even number")
        assert len(self.windows) == self.layers

    @property
    def context_tokens(self) -> int:
        """The longest prompt + output, in tokens; dynamic rope stretches the trained length by its factor."""
        if self.rope.type == "dynamic":
            return int(self.max_position_embeddings * max(self.rope.factor, 1.0))
        return self.max_position_embeddings

    def kv_bytes_per_token(self, dtype: str) -> int:
        """Bytes of K and V that one token takes over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * ITEM_BYTES[dtype]


def read_config(folder: Path) -> ModelConfig:
    """The config of a model folder; raises `ModelError` for one that is missing, broken or not supported."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder: give the path of a model folder with config.json")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: has no config.json: it is not a Hugging Face model folder")
    fields = read_json(folder / "config.json")
    generation = folder / "generation_config.json"
    return parse_config(fields, read_json(generation) if generation.is_file() else Fields({}, generation.name))


def parse_config(fields: Fields, generation: Fields) -> ModelConfig:
    """The config in `fields`; ids for the beginning and end of text in `generation` come first."""
    family = family_of(fields)
    if fields.text("hidden_act", "silu") not in ("silu", "swish"):
        raise fields.refuse("hidden_act", "only silu can run")

    layers = fields.integer("num_hidden_layers", 32)
    heads = fields.integer("num_attention_heads", 32)
    hidden_size = fields.integer("hidden_size", 4096)
    context = fields.integer("max_position_embeddings", family.max_position_embeddings)
    bias = family.biases == "by attention_bias" and fields.flag("attention_bias", False)
    return ModelConfig(
        family=family.name,
        vocab_size=fields.integer("vocab_size", family.vocab_size),
        hidden_size=hidden_size,
        intermediate_size=fields.integer("intermediate_size", family.intermediate_size),
        layers=layers,
        heads=heads,
        kv_heads=_kv_heads(fields, family, heads),
        head_dim=fields.integer("head_dim", family.head_dim or hidden_size // heads),
        max_position_embeddings=context,
        rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
        rope=read_rope(fields, context),
        windows=read_windows(fields, family, layers),
        tie_word_embeddings=fields.flag("tie_word_embeddings", False),
        qkv_bias=bias or family.biases == "on qkv",
        o_bias=bias,
        mlp_bias=family.reads_mlp_bias and fields.flag("mlp_bias", False),
        qk_norm=family.qk_norm,
        dtype=_dtype(fields),
        bos_ids=_special_ids("bos_token_id", generation, fields, family.bos_ids),
        eos_ids=_special_ids("eos_token_id", generation, fields, family.eos_ids),
        layout=read_layout(fields),
    )


def _kv_heads(fields: Fields, family: Family, heads: int) -> int:
    """An absent key takes the family's default, null means one KV head for each head."""
    absent = "num_key_value_heads" not in fields.values
    return fields.integer("num_key_value_heads", family.kv_heads if absent and family.kv_heads else heads)


def _dtype(fields: Fields) -> str | None:
    key = "dtype" if "dtype" in fields else "torch_dtype"
    if key not in fields:
        return None
    name = fields.text(key).removeprefix("torch.")
    if name not in ITEM_BYTES:
        raise fields.refuse(key, f"it must be one of {', '.join(ITEM_BYTES)}")
    return name


def _special_ids(key: str, generation: Fields, fields: Fields, default: tuple[int, ...]) -> tuple[int, ...]:
    if key in generation:
        return generation.token_ids(key)
    return fields.token_ids(key) if key in fields.values else default
