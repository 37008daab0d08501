"""A model folder's weights, converted and laid out for the decoder."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from engine.model.allocator import return_free_memory
from engine.model.checkpoint import Checkpoint, open_checkpoint
from engine.model.config import ModelConfig, read_config
from engine.model.decoder import Decoder
from engine.model.errors import ModelError
from engine.model.layer import Layer
from engine.model.linear import Linear
from engine.model.norm import RMSNorm
from engine.model.projection import MakeProjection, Place, Projection
from engine.model.rope import Rope
from engine.model.stage_names import OUTSIDE
from engine.model.tensor_names import EMBED, FINAL_NORM, LM_HEAD, WEIGHT, layer_prefix

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def plain(_place: Place, weight: Tensor, bias: Tensor | None) -> Projection:
    """A projection in the compute type."""
    return Linear(weight, bias)


def load_decoder(
    folder: Path, dtype: torch.dtype | None = None, make_projection: MakeProjection = plain
) -> Decoder:
    """The model in `folder`, computing in `dtype` (None: what its config says, else float32).

    `make_projection` is called for every projection in turn, and may keep its weight in another form. Those of
    a folder that is quantized already come from its layout.

    Raises `ModelError` when the folder cannot be run. Headers are checked before anything is loaded, and
    files are mapped, so that a tensor takes memory as it is converted, one layer at a time.
    """
    config = read_config(folder)
    checkpoint = open_checkpoint(folder)
    checkpoint.check(config)
    with ExitStack() as stack:
        if config.layout is not None and make_projection is not plain:
            raise ModelError(
                f"{folder}: its weights are quantized already ({config.layout.name}): run it as it is"
            )
        reader = _Reader(checkpoint, config, dtype, stack, make_projection)
        decoder = _decoder(config, reader)
    return_free_memory()
    return decoder


class _Reader:
    """Tensors of a checkpoint by name, in the compute dtype, copied: the file may change while we run."""

    def __init__(
        self, checkpoint: Checkpoint, config: ModelConfig, dtype: torch.dtype | None, stack: ExitStack,
        make_projection: MakeProjection,
    ) -> None:  # fmt: skip
        self.dtype = dtype or DTYPES[config.dtype or "float32"]
        self.layout = config.layout
        self.make_projection = make_projection
        self.checkpoint = checkpoint
        self.files: dict[Path, Any] = {
            path: stack.enter_context(safe_open(path, framework="pt")) for path in checkpoint.files
        }

    def __call__(self, *names: str) -> Tensor:
        """The tensors of these names, one below the other."""
        return torch.cat([self._mapped(name).to(self.dtype) for name in names])

    def linear(self, place: Place, *names: str) -> Projection:
        """One projection made of several of the same input, their outputs side by side."""
        biased = f"{names[0]}.bias" in self.checkpoint.tensors
        bias = self(*(f"{name}.bias" for name in names)) if biased else None
        if self.layout is not None and not all(self.checkpoint.is_plain(f"{name}.weight") for name in names):
            made: Projection = self.layout.projection(names, self._stored, bias, self.dtype)
            return made
        return self.make_projection(place, self(*(f"{name}.weight" for name in names)), bias)

    def _stored(self, name: str) -> Tensor | None:
        return self._mapped(name) if name in self.checkpoint.tensors else None

    def _mapped(self, name: str) -> Tensor:
        tensor: Tensor = self.files[self.checkpoint.location[name]].get_tensor(name)
        return tensor


def _decoder(config: ModelConfig, read: _Reader) -> Decoder:
    embed = read(EMBED)
    return Decoder(
        config=config,
        dtype=read.dtype,
        embed=embed,
        layers=tuple(_layer(config, read, index) for index in range(config.layers)),
        final_norm=RMSNorm(read(FINAL_NORM), config.rms_norm_eps),
        lm_head=_lm_head(config, read, embed),
        rope=Rope(config.rope, config.head_dim),
    )


def _lm_head(config: ModelConfig, read: _Reader, embed: Tensor) -> Projection:
    place = Place(OUTSIDE, "lm_head")
    if config.tie_word_embeddings:
        return read.make_projection(place, embed, None)
    return read.linear(place, LM_HEAD.removesuffix(WEIGHT))


def _layer(config: ModelConfig, read: _Reader, index: int) -> Layer:
    prefix = layer_prefix(index)
    attention, mlp = f"{prefix}self_attn.", f"{prefix}mlp."

    def norm(name: str) -> RMSNorm:
        return RMSNorm(read(f"{prefix}{name}.weight"), config.rms_norm_eps)

    return Layer(
        index=index,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=config.head_dim,
        window=config.windows[index],
        attn_norm=norm("input_layernorm"),
        qkv=read.linear(Place(index, "qkv"), f"{attention}q_proj", f"{attention}k_proj", f"{attention}v_proj"),
        q_norm=norm("self_attn.q_norm") if config.qk_norm else None,
        k_norm=norm("self_attn.k_norm") if config.qk_norm else None,
        o=read.linear(Place(index, "o"), f"{attention}o_proj"),
        mlp_norm=norm("post_attention_layernorm"),
        gate_up=read.linear(Place(index, "gate_up"), f"{mlp}gate_proj", f"{mlp}up_proj"),
        down=read.linear(Place(index, "down"), f"{mlp}down_proj"),
    )
