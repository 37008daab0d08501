"""Recorded runs in which drafts were verified, by the real acceptance over made-up logits."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from engine.drafting import Draft
from engine.drafts import DraftRequest, GuardedDrafter
from engine.draws import uniform
from engine.engine import Engine
from engine.events import Spread
from engine.execution import Choice, Job, Limits, Outcome, Processing
from engine.params import RequestSpec, SamplingParams
from engine.sampler_rows import SamplerRows
from engine.sampling import SamplerRow
from engine.verifying import Verifying
from sessions.header import PluginUsed
from tests.recorded import Logits, header, writer_on
from tests.sampled import Floats, logits_after
from tests.scripted import VOCAB, ScriptedExecutor

SETTINGS: Sequence[SamplingParams] = (
    SamplingParams(max_tokens=40, ignore_eos=True),
    SamplingParams(max_tokens=60, temperature=0.8, top_k=12, seed=5, ignore_eos=True),
)
"""Greedy, and drawn: requests 1 and 2."""
MOST = 4


class Guesser:
    """Drafts from the target's own logits, a little off; nothing at every third position."""

    def propose_drafts(self, asked: Sequence[DraftRequest]) -> Sequence[Draft | None]:
        return [self._draft(each) if each.position % 3 else None for each in asked]

    def _draft(self, asked: DraftRequest) -> Draft | None:
        tokens, spreads = [*asked.tokens], []
        for _ in range(min(MOST, asked.most)):
            spread = self._spread(tokens)
            draw = uniform(asked.seed, asked.sample, len(tokens), "draft")
            at = int(np.searchsorted(np.cumsum(spread.probs), draw)) if asked.params.temperature else 0
            tokens.append(spread.ids[min(at, len(spread.ids) - 1)])
            spreads.append(spread)
        drafts = tokens[len(asked.tokens) :]
        if not drafts:
            return None
        return Draft.drawn(drafts, spreads) if asked.params.temperature else Draft.sure(drafts)

    def _spread(self, tokens: Sequence[int]) -> Spread:
        """The likeliest four after `tokens`, by logits that are a little off."""
        off = random.Random(len(tokens)).gauss(0, 1) * np.cos(np.arange(VOCAB) + len(tokens))
        scores = logits_after(tokens) + off
        ids = np.argsort(-scores, kind="stable")[:4]
        weights = np.exp(scores[ids] - scores[ids[0]])
        probs = weights / weights.sum()
        return Spread(tuple(ids.tolist()), tuple(probs.tolist()))


class VerifyingExecutor(ScriptedExecutor):
    """Holds drafts against made-up logits as the real executor does."""

    def execute(self, job: Job) -> Outcome:
        super().execute(job)
        logits, of = _logits(job)
        verifying = Verifying(job, logits, of, lambda *_: Processing(), self._row)
        verifying.run()
        made = verifying.choices
        return Outcome(
            made.tokens, made.draws, Logits(logits[verifying.used]), 900_000, 80_000, (),
            verifying.processing, verifying.checked,
        )  # fmt: skip

    def _row(self, choice: Choice, tokens: Sequence[int], done: object) -> SamplerRow:
        assert not done
        return SamplerRows(0, VOCAB).row(
            choice.request, choice.params, choice.sample, choice.prompt_tokens, tuple(tokens)
        )


def _logits(job: Job) -> tuple[Floats, list[range]]:
    """The rows of every choice, of its newest token and of each draft; and which are whose."""
    rows: list[Floats] = []
    of: list[range] = []
    for choice in job.choices:
        drafts = choice.draft.tokens if choice.draft is not None else ()
        of.append(range(len(rows), len(rows) + len(drafts) + 1))
        rows += [logits_after([*choice.tokens, *drafts[:count]]) for count in range(len(drafts) + 1)]
    return (np.stack(rows) if rows else np.empty((0, VOCAB), np.float32)), of


def record_drafted(
    path: Path, settings: Sequence[SamplingParams] = SETTINGS, then: Callable[[Engine], object] = Engine.run
) -> Engine:
    """A closed session with a request for each of the settings, one after the other; `then` runs each."""
    used = PluginUsed("guesser", "1", "", "tests")
    about = msgspec.structs.replace(header(64, block_size=4, token_budget=64), plugins=(used,))
    writer = writer_on(path, about)
    executor = VerifyingExecutor(about.num_blocks, about.options.block_size)
    engine = Engine(executor, Limits(10_000, VOCAB), about.num_blocks, about.options, writer)
    engine.plugs.drafter = GuardedDrafter("guesser", Guesser())
    for params in settings:
        engine.submit(RequestSpec(tuple(range(10)), params))
        then(engine)
        engine.run()
    writer.close()
    return engine
