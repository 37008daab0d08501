"""How many tokens to draft: always the same, or as many as were accepted lately and one more."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from engine.drafts import MOST_DRAFTS, DraftRequest

Tokens: TypeAlias = Annotated[
    int, msgspec.Meta(ge=1, le=MOST_DRAFTS, description="How many tokens to draft; with adaptive, at most.")
]
Adaptive: TypeAlias = Annotated[
    bool, msgspec.Meta(description="Draft as many as were accepted lately, and one more.")
]


def length(asked: DraftRequest, tokens: int, adaptive: bool) -> int:
    """How many tokens to draft for a request, at most as many as are of use.

    Adaptive: one more than were accepted on average in its latest verifications, in which a draft that was
    accepted whole counts as if one more had been.
    """
    most = min(tokens, asked.most)
    if not adaptive or not asked.recent:
        return most
    could = [accepted + (accepted == drafted) for drafted, accepted in asked.recent]
    return max(1, min(most, 1 + round(sum(could) / len(could))))
