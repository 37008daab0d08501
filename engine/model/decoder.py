"""A decoder-only transformer over a paged KV pool, as a generator of named stages."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.kv.pool import KVPool
from engine.model.batch import Batch
from engine.model.config import ModelConfig
from engine.model.layer import Layer, Pass, Stages, replace
from engine.model.lora.adapter import NO_ADAPTERS, Adapters
from engine.model.lora.rows import rows_of
from engine.model.norm import RMSNorm
from engine.model.projection import Projection
from engine.model.rope import Rope
from engine.model.stage_names import OUTSIDE


@dataclass(frozen=True, slots=True)
class Decoder:
    """The weights of a model, ready to run. Made by `engine.model.weights.load_decoder`."""

    config: ModelConfig
    dtype: torch.dtype
    embed: Tensor
    layers: tuple[Layer, ...]
    final_norm: RMSNorm
    lm_head: Projection
    rope: Rope
    adapters: Adapters = NO_ADAPTERS

    @property
    def kernels(self) -> dict[str, str]:
        """Which kernel each projection runs on; all layers are alike."""
        layer = self.layers[0]
        linears = {"qkv": layer.qkv, "o": layer.o, "gate_up": layer.gate_up, "down": layer.down}
        return {name: linear.kernel for name, linear in (linears | {"lm_head": self.lm_head}).items()}

    def stages(self, batch: Batch, pool: KVPool, explicit: Collection[int] = ()) -> Stages:
        """The forward pass of `batch`: writes K and V to `pool` and returns logits `[rows, vocab]`, float32.

        Yields `(layer, stage, tensor)` at every named point; sending a tensor of the same shape replaces
        that stage's values, sending None goes on. In order: `embed`; in each layer `attn_norm q k v q_rot
        k_rot attn_out attn_proj resid_mid mlp_norm gate up mlp_out resid_post`; `final_norm`, `logits`.
        Stages are `[tokens, ...]`, of which q, k, v and attn_out `[tokens, heads, head_dim]`; the last two
        are `[rows, ...]`, for `batch.logit_rows` only. q and k come after qk-norm, where a model has it.

        Layers in `explicit` compute attention step by step instead of in one kernel and yield, before
        `attn_out`, for each span in turn `attn_scores` and `attn_pattern` `[heads, tokens, end]`, float32.

        The tensors are the forward's own: clone what you keep. Enter `torch.inference_mode()` around each
        use of the generator, never inside it: a paused generator would leave the mode switched on.
        """
        x = F.embedding(batch.token_ids, self.embed)
        replace(x, (yield OUTSIDE, "embed", x))
        lengths = batch.lengths if self.rope.config.type == "dynamic" else None
        cos, sin = self.rope.tables(batch.positions, lengths, self.dtype)
        run = Pass(batch, pool, cos, sin, frozenset(explicit), rows_of(self.adapters, batch))
        for layer in self.layers:
            x = yield from layer.stages(x, run)
        x = self.final_norm(x.index_select(0, batch.logit_rows))
        replace(x, (yield OUTSIDE, "final_norm", x))
        logits = self.lm_head(x).float() if len(x) else x.new_empty(0, self.config.vocab_size).float()
        replace(logits, (yield OUTSIDE, "logits", logits))
        return logits


def run(stages: Stages) -> Tensor:
    """Exhausts a forward pass: its logits `[rows, vocab]`, float32."""
    _, _, logits = deque(stages, maxlen=1).pop()
    return logits
