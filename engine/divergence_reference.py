"""transformers as a run to compare with: its modules' inputs and outputs under the names of our stages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.divergence_rebuild import Place, Row
from engine.model.reference import Reference
from engine.model.stage_names import OUTSIDE

Keep = Callable[[int, str, Tensor], None]
LOGITS_AT_ONCE = 1 << 27  # elements of logits kept at a time


@dataclass(frozen=True, slots=True)
class ReferenceRun:
    """One forward pass of transformers over `token_ids`, which end with the row asked about.

    q_rot and k_rot are not the output of any module: they are made of its q and k by the rotation function
    of its own source, with the angles of its own rotary module.
    """

    reference: Reference
    token_ids: Sequence[int]

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = self.reference.model.dtype
        return found

    def held(self) -> list[Tensor]:
        return list(self._run(len(self.token_ids) - 1).context)

    def row(self, position: int) -> Row:
        return self._run(position)

    @torch.inference_mode()
    def _run(self, position: int) -> Row:
        seen: dict[Place, Tensor] = {}

        def keep(layer: int, stage: str, value: Tensor) -> None:
            seen[layer, stage] = value[0].clone()

        ids = torch.tensor([list(self.token_ids[: position + 1])])
        with hooked(self.reference.model, keep):
            self.reference.model(ids, use_cache=False, logits_to_keep=1)
        heads = _Heads(self.reference.model)
        heads.split(seen)
        heads.rotate(seen, position + 1)
        context = [
            torch.stack((seen[layer, "k_rot"][:position], seen[layer, "v"][:position]), dim=1)
            for layer in range(heads.layers)
        ]
        return Row(position, {place: value[-1] for place, value in seen.items()}, context)


@torch.inference_mode()
def reference_logits(reference: Reference, token_ids: Sequence[int], start: int) -> Iterator[Tensor]:
    """The float32 logits `[vocab]` of each row from `start` on, one after the other."""
    model = reference.model
    hidden = model.model(torch.tensor([list(token_ids)]), use_cache=False).last_hidden_state[0]
    rows = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for first in range(start, len(token_ids), rows):
        yield from model.lm_head(hidden[first : first + rows]).float()


@contextmanager
def hooked(model: Any, keep: Keep) -> Iterator[None]:
    """While it lasts, `keep` is told the values of a forward pass, `[1, tokens, ...]` each."""
    with ExitStack() as stack:

        def output(module: Any, layer: int, stage: str) -> None:
            def hook(_module: Any, _args: Any, found: Any) -> None:
                keep(layer, stage, found[0] if isinstance(found, tuple) else found)

            stack.callback(module.register_forward_hook(hook).remove)

        def given(module: Any, layer: int, stage: str) -> None:
            def hook(_module: Any, args: Any) -> None:
                keep(layer, stage, args[0])

            stack.callback(module.register_forward_pre_hook(hook).remove)

        output(model.model.embed_tokens, OUTSIDE, "embed")
        for index, layer in enumerate(model.model.layers):
            attention, mlp = layer.self_attn, layer.mlp
            output(layer.input_layernorm, index, "attn_norm")
            output(getattr(attention, "q_norm", attention.q_proj), index, "q")
            output(getattr(attention, "k_norm", attention.k_proj), index, "k")
            output(attention.v_proj, index, "v")
            given(attention.o_proj, index, "attn_out")
            output(attention.o_proj, index, "attn_proj")
            given(layer.post_attention_layernorm, index, "resid_mid")
            output(layer.post_attention_layernorm, index, "mlp_norm")
            output(mlp.gate_proj, index, "gate")
            output(mlp.up_proj, index, "up")
            output(mlp.down_proj, index, "mlp_out")
            output(layer, index, "resid_post")
        output(model.model.norm, OUTSIDE, "final_norm")
        output(model.lm_head, OUTSIDE, "logits")
        yield


class _Heads:
    """Splits projections of transformers' attention into heads, and rotates them as it does."""

    def __init__(self, model: Any) -> None:
        self._model = model
        attention = model.model.layers[0].self_attn
        self._head_dim: int = attention.head_dim
        self._rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb
        self.layers = len(model.model.layers)

    def split(self, seen: dict[Place, Tensor]) -> None:
        """q, k, v and attn_out become `[tokens, heads, head_dim]`."""
        for layer in range(self.layers):
            for stage in ("q", "k", "v", "attn_out"):
                value = seen[layer, stage]
                seen[layer, stage] = value.reshape(len(value), -1, self._head_dim)

    def rotate(self, seen: dict[Place, Tensor], tokens: int) -> None:
        """Adds q_rot and k_rot."""
        positions = torch.arange(tokens)[None]
        cos, sin = self._model.model.rotary_emb(seen[OUTSIDE, "embed"][None], positions)
        for layer in range(self.layers):
            q, k = (seen[layer, stage].transpose(0, 1)[None] for stage in ("q", "k"))
            q, k = self._rotate(q, k, cos, sin)
            seen[layer, "q_rot"], seen[layer, "k_rot"] = q[0].transpose(0, 1), k[0].transpose(0, 1)
