"""The logit lens: the residual stream after each layer read as if it were the last.

nostalgebraist, "interpreting GPT: the logit lens" (2020): final norm and unembedding, nothing trained.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from engine.model.decoder import Decoder


class Read(NamedTuple):
    """What each of `[depths]` says: the `top` likeliest tokens, and how one token fares.

    `kl` is KL(final ‖ this) in nats; `rank` counts from 1, ties by token id.
    """

    ids: Tensor
    probs: Tensor
    rank: Tensor
    prob: Tensor
    logit: Tensor
    kl: Tensor


def read_out(decoder: Decoder, residual: Tensor, final: Tensor, token: int, top: int) -> Read:
    """Read `residual [depths, hidden]`; the last depth is what the model said: `final [vocab]`."""
    logits = decoder.lm_head(decoder.final_norm(residual)).float()
    logits[-1] = final
    log_probs = logits.double().log_softmax(-1)
    ids = logits.topk(top, dim=-1).indices
    own = logits[:, token, None]
    before = (logits > own).sum(-1) + (logits[:, :token] == own).sum(-1)
    return Read(
        ids=ids, probs=log_probs.gather(-1, ids).exp(), rank=before + 1, prob=log_probs[:, token].exp(),
        logit=logits[:, token], kl=(log_probs[-1].exp() * (log_probs[-1] - log_probs)).nansum(-1),
    )  # fmt: skip
