"""Drafters for scripted engines: right as often as they are told to be, or broken on purpose."""

from __future__ import annotations

import random
from collections.abc import Sequence

from engine.drafting import Draft
from engine.drafts import DraftRequest, GuardedDrafter
from engine.engine import Engine
from tests.scripted import VOCAB, next_token, slot_value


class Oracle:
    """Knows what comes next, and drafts it up to a mistake; what it does follows from the tokens alone."""

    def __init__(self, right: float = 0.7, most: int = 6) -> None:
        self._right, self._most = right, most

    def propose_drafts(self, asked: Sequence[DraftRequest]) -> Sequence[Draft | None]:
        return [self._draft(each) for each in asked]

    def _draft(self, asked: DraftRequest) -> Draft | None:
        dice = random.Random(f"{asked.request} {list(asked.tokens)}")
        slots = [0]
        for token in asked.tokens:
            slots.append(slot_value(slots[-1], token))
        drafts: list[int] = []
        for _ in range(dice.randint(0, min(self._most, asked.most))):
            right = next_token(slots[1:], asked.sample)
            drafts.append(right if dice.random() < self._right else dice.randrange(VOCAB))
            slots.append(slot_value(slots[-1], drafts[-1]))
        return Draft.sure(drafts) if drafts else None


class Grower(Oracle):
    """Drafts trees: every draft hangs on any before it, and is right or not."""

    def _draft(self, asked: DraftRequest) -> Draft | None:
        dice = random.Random(f"{asked.request} {list(asked.tokens)}")
        slots = [0]
        for token in asked.tokens:
            slots.append(slot_value(slots[-1], token))
        reached, tokens, parents = [slots[1:]], [], []
        for _ in range(dice.randint(0, 2 * self._most)):
            parent = dice.randrange(len(reached))
            before = reached[parent]
            right = next_token(before, asked.sample)
            token = right if dice.random() < self._right / 2 else dice.randrange(VOCAB)
            twins = [at for at, other in enumerate(parents) if other == parent - 1]
            if len(before) - len(asked.tokens) >= asked.most or token in [tokens[at] for at in twins]:
                continue
            reached.append([*before, slot_value(before[-1], token)])
            tokens.append(token)
            parents.append(parent - 1)
        return Draft.sure(tokens, parents) if tokens else None


def drafting(engine: Engine, drafter: object | None = None) -> Engine:
    """`engine` with a drafter."""
    engine.plugs.drafter = GuardedDrafter("oracle", drafter or Oracle())
    return engine
