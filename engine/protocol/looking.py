"""Looking at a past row again: what may be asked of it, and what is answered."""

from __future__ import annotations

from engine.protocol.base import Message
from engine.stage_report import Passed, Source, Values


class Inspect(Message, frozen=True):
    """Compute again the input row `position` of `request`, and look inside.

    The attention pattern of the latest `rows` rows is returned for (`layer`, `head`), and pooled to
    `grid` x `grid` for every head.
    """

    request: str
    position: int
    rows: int = 1
    layer: int = 0
    head: int = 0
    grid: int = 12


class Inspection(Message, frozen=True):
    """One row looked at again. Arrays are little-endian float32 bytes.

    `logits` [vocab] of `position`; `row` [layers, heads, kv], max-pooled by `pool` positions where the
    context is long; `focus` [rows, kv] of the asked head; `grid` [layers, heads, grid, grid], max-pooled;
    `head_entropy`, `head_sink` (mass on position 0), `head_distance` (mean, in tokens) [layers, heads].
    `check` is max|pattern @ V - attn_out|. KV of `reused` positions was still in the pool, that of
    `prefilled` positions was computed again.
    """

    request: str
    position: int
    layer: int
    head: int
    rows: int
    layers: int
    heads: int
    kv: int
    pool: int
    grid_size: int
    logits: bytes
    row: bytes
    focus: bytes
    grid: bytes
    head_entropy: bytes
    head_sink: bytes
    head_distance: bytes
    check: float
    reused: int
    prefilled: int


class LookLayers(Message, frozen=True):
    """Look at every stage of the input row `position` of `request` again, and at what became of it.

    `token` is the one whose logit is taken apart: None is the token that follows the row, or the likeliest.
    Answered by `LayersSeen`, with the `top` likeliest tokens of each layer.
    """

    request: str
    position: int
    token: int | None = None
    top: int = 5


class LayersSeen(Message, frozen=True):
    """One row looked at again, stage by stage. Arrays are little-endian.

    `stages` and `values` are in the order of `engine.model.stage_names.points`, `sources` are those of each
    stage by index in `source_of`. The lens reads the residual stream after the embedding and after each layer
    as if it were the last: final norm and unembedding give `[layers + 1, ...]` `lens_ids` (int32, `top` each),
    `lens_probs` (float32), and of `token` its `rank` (from 1), `prob` and `logit`; `kl` is KL(final ‖ lens) in
    nats. `resid_norm [layers + 1]` is the l2 norm there.

    The logit of `token` is taken apart along the residual stream, each part scaled as the final norm scaled
    the row: `embed`, `attn [layers]`, `mlp [layers]`; they add up to `logit - remainder`. `heads
    [layers, heads]` are the heads' shares of `attn`, whose rest is the output projection's bias.

    `token` is the one that follows the row where `follows` says so: it was chosen there, or is the prompt's.
    Without it, it is the likeliest, or was asked for.
    """

    request: str
    position: int
    token: int
    follows: bool
    layers: int
    n_heads: int
    top: int
    stages: tuple[Passed, ...]
    values: tuple[Values, ...]
    sources: tuple[Source, ...]
    source_of: tuple[tuple[int, ...], ...]
    lens_ids: bytes
    lens_probs: bytes
    rank: bytes
    prob: bytes
    lens_logit: bytes
    kl: bytes
    resid_norm: bytes
    embed: float
    attn: bytes
    mlp: bytes
    heads: bytes
    logit: float
    remainder: float
    logits: bytes
    reused: int
    prefilled: int
