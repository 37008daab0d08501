"""Drafts on the bundled model: greedy output is that of plain decoding, whatever the workload."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.drafts import DraftRequest, GuardedDrafter
from engine.engine import Engine
from engine.executor import TorchExecutor
from engine.forking import ForkSpec
from engine.kv.pool import KVPool
from engine.load import attach, limits_of
from engine.model.batch import Batch, Span
from engine.model.decoder import run
from engine.model.errors import ModelError
from engine.model.invariant import invariant
from engine.model.weights import load_decoder
from engine.params import EngineOptions, RequestSpec, SamplingParams
from engine.plugs import Plugs
from engine.text.stops import OutputText
from engine.text.tokenizer import Tokenizer
from engine.timeline import MemoryTimeline
from plugins.loading import load_plugins, plugs_of
from plugins.speculative.draft import folder_of
from tests.bundled import FOLDER, decoder

METHODS = [
    "ngram=tokens:5", "ngram=tokens:8,adaptive:true", "draft=tokens:4", "draft=tokens:6,adaptive:true",
    "skip-layers",
    "tree=tokens:3,width:3", "tree=source:ngram,width:3",
]  # fmt: skip
TEXT = (FOLDER.parent.parent / "engine" / "drafting.py").read_text()


def engine_with(asked: Sequence[str], num_blocks: int = 64, timeline: bool = False, **options: object) -> Engine:
    """An invariant engine on the bundled model, so that schedules cannot turn near ties."""
    chosen = EngineOptions(dtype="float32", invariant=True, **options)  # type: ignore[arg-type]
    plugs: Plugs = plugs_of(load_plugins(asked))
    pool = KVPool(decoder().config, num_blocks, chosen.block_size)
    executor = TorchExecutor(invariant(decoder()), pool, chosen.seed, plugs=plugs)
    attach(plugs, executor, FOLDER)
    past = MemoryTimeline(num_blocks, chosen) if timeline else None
    limits = limits_of(decoder().config)
    return Engine(executor, limits, num_blocks, chosen, past, partial(OutputText, tokenizer()), past, plugs)


def tokenizer() -> Tokenizer:
    return Tokenizer.from_folder(FOLDER)


def workload(seed: int) -> list[RequestSpec]:
    """Pieces of text that share beginnings, some with samples, stop strings, penalties or a bias."""
    dice = random.Random(seed)
    ids = tokenizer().encode(TEXT)
    specs = []
    for _ in range(5):
        start = dice.choice([0, 0, 40, 120])
        prompt = tuple(ids[start : start + dice.randint(8, 90)])
        params = dice.choice([
            SamplingParams(max_tokens=dice.randint(5, 40)),
            SamplingParams(max_tokens=40, stop=("\n\n", "return", "self.")),
            SamplingParams(max_tokens=25, repetition_penalty=1.2, frequency_penalty=0.2, ignore_eos=True),
            SamplingParams(max_tokens=20, logit_bias={12: 1.5}, presence_penalty=0.4),
        ])  # fmt: skip
        specs.append(RequestSpec(prompt, params, n=dice.choice([1, 1, 2])))
    return specs


def outputs(engine: Engine, specs: Sequence[RequestSpec], dice: random.Random) -> dict[str, list[int]]:
    """Everything that was generated, with a fork and a preemption by hand on the way."""
    for each in specs:
        engine.submit(each)
    first = next(iter(engine.state.requests))
    for _ in range(4):
        engine.step()
    at = len(specs[0].prompt_ids)
    engine.fork(ForkSpec(first, at, token=dice.randint(5, 300)))
    while engine.step() is not None:
        if engine.state.running and dice.random() < 0.05:
            engine.preempt(dice.choice(sorted(engine.state.running)))
        engine.state.check_invariants()
    return {id_: list(engine.tokens.tokens_of(id_)) for id_ in engine.tokens._tokens}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", [1, 2])
def test_greedy_output_is_that_of_plain_decoding(method: str, seed: int) -> None:
    """With chunked prefill, a pool that is too small for all, samples, a fork, preemptions and stop strings."""
    options = {"block_size": 8, "token_budget": 48, "num_blocks": 40}
    plain = outputs(engine_with([], **options), workload(seed), random.Random(seed))
    engine = engine_with([method], **options)
    assert outputs(engine, workload(seed), random.Random(seed)) == plain
    assert engine.state.totals.accepted_tokens > 10
    assert not engine.plugs.disabled


@pytest.mark.parametrize("method", METHODS[::2])
@pytest.mark.parametrize("exact", [False, True])
def test_after_going_back_the_output_is_the_same(method: str, exact: bool) -> None:
    engine = engine_with([method], timeline=True, block_size=8, token_budget=48, num_blocks=40)
    ids = tokenizer().encode(TEXT)
    for start in (0, 30):
        engine.submit(RequestSpec(tuple(ids[start : start + 50]), SamplingParams(max_tokens=40)))
        engine.submit(RequestSpec(tuple(ids[:60]), SamplingParams(max_tokens=20, temperature=0.9, seed=start)))
    engine.run()
    before = {id_: list(engine.tokens.tokens_of(id_)) for id_ in engine.tokens._tokens}
    engine.rewind(5, exact=exact)
    engine.run()
    assert {id_: list(engine.tokens.tokens_of(id_)) for id_ in engine.tokens._tokens} == before


def asked_of(tokens: Sequence[int], table: Sequence[int]) -> DraftRequest:
    return DraftRequest("1", tokens, 4, SamplingParams(), 0, 0, 5, table, ())


def test_drafts_follow_from_the_tokens_wherever_their_kv_lies() -> None:
    """Tables that change hands, share blocks, or come back with other content: never a stale slot."""
    engine = engine_with(["draft=tokens:3"], block_size=4)
    drafter = engine.plugs.drafter
    assert isinstance(drafter, GuardedDrafter)
    dice = random.Random(0)
    ids = tokenizer().encode(TEXT)
    for _ in range(60):
        tokens = ids[:: dice.choice([1, 1, 1, 2])][: dice.randint(6, 40)]
        if dice.random() < 0.3:
            tokens = [*tokens[:-2], dice.randint(5, 300), dice.randint(5, 300)]
        table = [*range(8), *dice.sample(range(8, 30), 4)] if dice.random() < 0.6 else dice.sample(range(40), 12)
        draft = drafter.drafter.propose_drafts([asked_of(tokens, table)])[0]
        assert list(draft.tokens) == alone(tokens, 3)


def alone(tokens: Sequence[int], count: int) -> list[int]:
    """What the drafting model says next, computed from nothing."""
    small = load_decoder(folder_of("tiny-python-draft"), torch.float32)
    pool = KVPool(small.config, 20, 4)
    found = list(tokens)
    for _ in range(count):
        batch = Batch.build([Span("1", 0, len(found), range(20))], found, 4)
        with torch.inference_mode():
            found.append(int(np.argmax(run(small.stages(batch, pool)).numpy())))
    return found[len(tokens) :]


def test_a_drafting_model_of_another_vocabulary_is_refused_in_one_line(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in (FOLDER.parent / "tiny-python-draft").iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    about = json.loads((other / "tokenizer.json").read_text())
    words = about["model"]["vocab"]
    words["return"], words["def"] = words["def"], words["return"]
    (other / "tokenizer.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match=r"^draft model other cannot draft for tiny-python: token \d+ is"):
        engine_with([f"draft=model:{other}"])
