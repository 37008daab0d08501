"""What a stage of a layer is part of, as the fork box writes it."""

from __future__ import annotations

from workbench.selection import Selection

ATTENTION = ("attn_norm", "q", "k", "v", "q_rot", "k_rot", "attn_out", "attn_proj", "resid_mid")
MLP = ("mlp_norm", "gate", "up", "mlp_out")


def fork_place(chosen: Selection, stage: str, *, heads: bool) -> str:
    """`layer 3 head 2 off`, `layer 3 mlp off`: what is selected, switched off."""
    if heads:
        return f"layer {chosen.layer} head {chosen.head} off"
    if stage in MLP:
        return f"layer {chosen.layer} mlp off"
    return f"layer {chosen.layer} attention off" if stage in ATTENTION else f"layer {chosen.layer} off"


__all__ = ["fork_place"]
