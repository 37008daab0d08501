"""Decoding with drafts beside plain decoding, here and in transformers; one request at a time.

    python -m benchmarks.spec --threads 2

The bundled pair goes on from pieces of held-out files of the standard library; transformers has the same draft
model in its assisted generation, and its own prompt lookup. The 0.5B target has random weights, so no model could
draft for it: its drafts are its own output with mistakes at a set rate, and cost nothing. Runs alternate, and
speed-up is the median over pairs of one prompt. Our times are of what follows the first token; those of
transformers are of everything, since its first pass verifies drafts already.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer

from benchmarks import random_model
from engine.drafting import Draft
from engine.drafts import DraftRequest, GuardedDrafter
from engine.model.reference import load_reference
from engine.model.weights import load_decoder
from engine.params import SamplingParams
from engine.plugs import Plugs
from models.measure import held_out_prompts
from plugins.speculative.timing import Bench, Timed, plugs_by_name

BUNDLED = Path(__file__).parent.parent / "models" / "tiny-python"
DRAFT = BUNDLED.with_name("tiny-python-draft")
METHODS = ("draft=tokens:4", "draft=tokens:6,adaptive:true", "ngram")
GENERATE = "generate"
RATES = (0.5, 0.7, 0.9)
DRAFTED = 4
HEADER = f"{'speculative decoding':38}{'tokens/forward':>15}{'accepted':>10}{'tokens/s':>10}{'speed-up':>10}"


class Sample(NamedTuple):
    """One request that was decoded in one way: the tokens that so many passes of the target gave."""

    way: str
    tokens: int
    passes: int
    seconds: float
    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One way to decode, against plain decoding of the same engine."""

    name: str
    per_forward: float
    accepted: float | None
    rate: float
    speed_up: float

    def __str__(self) -> str:
        share = "" if self.accepted is None else f"{self.accepted:.1%}"
        return f"{self.name:38}{self.per_forward:15.2f}{share:>10}{self.rate:10.1f}{self.speed_up:9.2f}x"


def samples(timed: Iterable[Timed]) -> list[Sample]:
    return [
        Sample(one.method or "plain", one.decoded, one.passes, one.seconds, one.drafted, one.accepted)
        for one in timed
    ]


def compare(name: str, found: Sequence[Sample], plain: str) -> Iterator[Line]:
    """A line for each way, in the order of their first, beside the one called `plain`."""
    base = [one for one in found if one.way == plain]
    for way in dict.fromkeys(one.way for one in found):
        ours = [one for one in found if one.way == way]
        drafted, tokens = sum(one.drafted for one in ours), sum(one.tokens for one in ours)
        gains = [
            (a.seconds / a.tokens) / (b.seconds / b.tokens) for a, b in zip(base, ours, strict=True)
        ]  # fmt: skip
        yield Line(
            f"{name}  {way}",
            tokens / sum(one.passes for one in ours),
            sum(one.accepted for one in ours) / drafted if drafted else None,
            tokens / sum(one.seconds for one in ours),
            statistics.median(gains),
        )


def bundled(prompts: int, tokens: int, rounds: int) -> Iterator[Line]:
    """The bundled pair on held-out text, then transformers with the same pair."""
    texts = held_out_prompts(Tokenizer.from_file(str(BUNDLED / "tokenizer.json")), prompts)
    longest = max(map(len, texts)) + tokens
    bench = Bench(BUNDLED, load_decoder(BUNDLED, torch.float32), plugs_by_name(METHODS), longest)
    params = SamplingParams(max_tokens=tokens, ignore_eos=True)
    yield from compare("bundled", samples(bench.run(texts, params, rounds)), "plain")
    yield from compare("bundled", [*Assisted().run(texts, tokens, rounds)], GENERATE)


class Assisted:
    """transformers' generation of the bundled model, plainly and with its own speculative decoding."""

    def __init__(self) -> None:
        from transformers.utils import logging

        logging.set_verbosity_error()
        self._model = load_reference(BUNDLED, torch.float32).model
        draft = load_reference(DRAFT, torch.float32).model
        self._ways: dict[str, dict[str, Any]] = {
            GENERATE: {},
            f"{GENERATE}, assisted": {"assistant_model": draft},
            f"{GENERATE}, prompt lookup": {"prompt_lookup_num_tokens": 6},
        }
        self._passes = 0
        self._model.register_forward_pre_hook(self._count)

    def _count(self, *_: object) -> None:
        self._passes += 1

    def run(self, prompts: Sequence[Sequence[int]], tokens: int, rounds: int) -> Iterator[Sample]:
        """Every way in turn; a first time that does not count goes before."""
        for way in self._ways:
            self._time(way, prompts[0], tokens)
        for prompt in prompts:
            for _ in range(rounds):
                yield from (self._time(way, prompt, tokens) for way in self._ways)

    @torch.inference_mode()
    def _time(self, way: str, prompt: Sequence[int], tokens: int) -> Sample:
        ids = torch.tensor([list(prompt)])
        self._passes, began = 0, time.perf_counter()
        self._model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
            do_sample=False, pad_token_id=0, **self._ways[way],
        )  # fmt: skip
        return Sample(way, tokens, self._passes, time.perf_counter() - began)


class Known:
    """Drafts what is known to come, each token wrong with probability 1 - `rate`."""

    def __init__(self, outputs: Sequence[Sequence[int]], rate: float, vocab_size: int) -> None:
        """`outputs` are prompts with what plain decoding makes of them."""
        self._outputs, self._rate, self._vocab_size = outputs, rate, vocab_size

    def propose_drafts(self, asked: Sequence[DraftRequest]) -> Sequence[Draft | None]:
        return [self._draft(each) for each in asked]

    def _draft(self, asked: DraftRequest) -> Draft | None:
        before, dice = tuple(asked.tokens), random.Random(asked.position)
        known = next((each for each in self._outputs if tuple(each[: len(before)]) == before), None)
        if known is None:
            return None
        drafts = list(known[len(before) : len(before) + min(DRAFTED, asked.most)])
        for at, token in enumerate(drafts):
            if dice.random() >= self._rate:
                drafts[at] = (token + 1) % self._vocab_size
        return Draft.sure(drafts) if drafts else None


def large(folder: Path, tokens: int, rounds: int) -> Iterator[Line]:
    """The random 0.5B model, its drafts right at a set rate."""
    decoder = load_decoder(folder, torch.bfloat16)
    vocab = decoder.config.vocab_size
    prompts = [tuple(random.Random(seed).choices(range(vocab), k=64)) for seed in range(2)]
    params = SamplingParams(max_tokens=tokens, ignore_eos=True)
    plain = Bench(folder, decoder, {}, 64 + tokens)
    outputs = [(*prompts[one.prompt], *one.tokens) for one in plain.run(prompts, params, 1)]
    methods: dict[str, Plugs] = {
        f"known, {rate:.0%} right": Plugs(drafter=GuardedDrafter("known", Known(outputs, rate, vocab)))
        for rate in RATES
    }
    timed = Bench(folder, decoder, methods, 64 + tokens).run(prompts, params, rounds)
    yield from compare("0.5B", samples(timed), "plain")


def measure(quick: bool, say: Callable[[object], None]) -> None:
    """Both models, a line at a time."""
    prompts, tokens, rounds = (2, 48, 1) if quick else (8, 96, 3)
    for line in bundled(prompts, tokens, rounds):
        say(line)
    with tempfile.TemporaryDirectory() as folder:
        random_model.build(Path(folder), "0.5b", "bfloat16")
        for line in large(Path(folder), 16 if quick else 32, rounds):
            say(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(HEADER, flush=True)
    measure(options.quick, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
