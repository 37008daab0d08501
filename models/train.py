"""Train the tokenizer, the target model and the draft model that ship with the project.

    python -m models.train tokenizer
    python -m models.train target --minutes 61 --checkpoint target.safetensors
    python -m models.train draft  --minutes 50 --checkpoint draft.safetensors

The learning rate follows the clock, not a step count: it reaches zero when the minutes are over, however busy
the machine was. A run that is stopped goes on from its checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch._inductor.config as inductor
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from models import checkpoint
from models.corpus import Document, load_corpus
from models.stream import IGNORED, Ids, Stream
from models.vocabulary import CONTEXT, END_OF_TEXT_ID, VOCABULARY, save_tokenizer, train_tokenizer

HERE = Path(__file__).parent
TARGET = HERE / "tiny-python"
DRAFT = HERE / "tiny-python-draft"

SHORT_CONTEXT = 512
WARM_UP = 0.02
SAVE_SECONDS = 300
HELD_OUT_ROWS = 32

Loss = Callable[[LlamaForCausalLM, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Shape:
    """What distinguishes the two models. Heads are 32 wide in both."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int

    def build(self) -> LlamaForCausalLM:
        """A model with random weights."""
        config = LlamaConfig(
            **asdict(self),
            vocab_size=VOCABULARY,
            head_dim=32,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=END_OF_TEXT_ID,
            eos_token_id=END_OF_TEXT_ID,
            pad_token_id=END_OF_TEXT_ID,
        )
        return LlamaForCausalLM(config)


TARGET_SHAPE = Shape(192, 640, 6, 6, 2)
DRAFT_SHAPE = Shape(96, 256, 2, 3, 1)


@dataclass(slots=True)
class Progress:
    """Where a run is; kept in its checkpoint."""

    step: int = 0
    tokens: int = 0
    elapsed: float = 0.0


class Optimizers:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms."""

    def __init__(self, model: LlamaForCausalLM, matrix_rate: float, rate: float) -> None:
        matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
        embedding = [p for n, p in model.named_parameters() if "embed" in n]
        gains = [p for p in model.parameters() if p.ndim == 1]
        groups = [{"params": embedding, "weight_decay": 0.01}, {"params": gains, "weight_decay": 0.0}]
        muon = torch.optim.Muon(matrices, lr=matrix_rate, weight_decay=0.05)
        adamw = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)
        self.all: tuple[torch.optim.Optimizer, ...] = (muon, adamw)
        self.rates = (matrix_rate, rate)

    def step(self, factor: float) -> None:
        """Update every weight at `factor` times its peak rate, and drop the gradients."""
        for optimizer, rate in zip(self.all, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


class Threads:
    """One thread or all of them, whichever makes faster steps: on a busy machine others stall the first."""

    PROBE_EVERY = 40

    def __init__(self) -> None:
        self.all = torch.get_num_threads()
        self.seconds = {1: math.inf, self.all: 0.0}

    def choose(self, step: int) -> int:
        """Set and return the number of threads for this step."""
        count = min(self.seconds, key=lambda n: self.seconds[n])
        if step % self.PROBE_EVERY == 0 and (count == self.all or os.getloadavg()[0] <= self.all + 0.2):
            count = 1 if count == self.all else self.all
        torch.set_num_threads(count)
        return count

    def took(self, count: int, seconds: float) -> None:
        """Note how long a step took with `count` threads."""
        last = self.seconds[count]
        self.seconds[count] = 0.5 * (last if 0 < last < math.inf else seconds) + 0.5 * seconds


def rate_factor(done: float) -> float:
    """The share of the peak rate at `done` of the time: a short rise, then straight down to zero."""
    return min(done / WARM_UP, 1.0) * max(1.0 - done, 0.0)


def logits_of(model: LlamaForCausalLM, inputs: Tensor) -> Tensor:
    """Logits `[rows, context, vocabulary]` of the next token, without a cache."""
    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state
    logits: Tensor = model.lm_head(hidden)
    return logits


def next_token_loss(model: LlamaForCausalLM, inputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy in nats over the positions that have a label."""
    logits = logits_of(model, inputs).float()
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def distillation_loss(teacher: LlamaForCausalLM) -> Loss:
    """A loss that asks for the teacher's whole distribution, at every position."""

    def loss(model: LlamaForCausalLM, inputs: Tensor, _labels: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = logits_of(teacher, inputs).float().softmax(-1)
        got = logits_of(model, inputs).float().log_softmax(-1)
        return -(wanted * got).sum(-1).mean()

    return loss


class Run:
    """One training run: model, optimizers, batches, and the clock they follow."""

    def __init__(self, model: LlamaForCausalLM, loss: Loss, options: argparse.Namespace) -> None:
        self.model = model
        inductor.cpp.dynamic_threads = True
        self.loss = torch.compile(loss) if options.compile else loss
        self.optimizers = Optimizers(model, options.matrix_rate, options.rate)
        self.budget = options.minutes * 60.0
        self.long_from: float = options.long_from
        self.checkpoint: Path = options.checkpoint
        self.folder: Path = options.output
        self.progress = Progress()
        self.threads = Threads()
        tokenizer = Tokenizer.from_file(str(TARGET / "tokenizer.json"))
        corpus = load_corpus()
        self.stream = Stream(encode(tokenizer, corpus.train))
        self.held_out = held_out_batch(encode(tokenizer, corpus.held_out))
        if self.checkpoint.exists():
            self._resume()

    def train(self) -> None:
        """Step until the time is over, saving checkpoint and model every few minutes."""
        last, saved = time.monotonic(), time.monotonic()
        while self.progress.elapsed < self.budget:
            count = self.threads.choose(self.progress.step)
            value = self._step()
            now = time.monotonic()
            self.threads.took(count, now - last)
            self.progress.elapsed += now - last
            last = now
            if self.progress.step % 50 == 0:
                self._say(value)
            if now - saved > SAVE_SECONDS:
                self.save()
                saved = now
        self.save()

    def _step(self) -> float:
        done = self.progress.elapsed / self.budget
        context = CONTEXT if done >= self.long_from else SHORT_CONTEXT
        inputs, labels = self.stream.batch(self.progress.step, context)
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.loss(self.model, inputs, labels)
        torch.autograd.backward(loss)
        self.optimizers.step(rate_factor(done))
        self.progress.step += 1
        self.progress.tokens += inputs.numel()
        return loss.item()

    def _say(self, value: float) -> None:
        p = self.progress
        line = f"{p.elapsed:6.0f} s  step {p.step:6d}  {p.tokens / 1e6:6.2f} M  loss {value:.3f}"
        print(line, *(f"{n}: {t:.2f} s" for n, t in self.threads.seconds.items()), flush=True)

    def save(self) -> None:
        """Write the checkpoint, and the model folder as it would ship."""
        checkpoint.save(self.checkpoint, self.model, self.optimizers.all, asdict(self.progress))
        export(self.model, self.folder)
        print(f"saved at step {self.progress.step}, held-out loss {self._held_out_loss():.4f}", flush=True)

    def _resume(self) -> None:
        self.progress = Progress(**checkpoint.load(self.checkpoint, self.model, self.optimizers.all))

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        rows = zip(*(torch.split(part, 1) for part in self.held_out), strict=True)
        with torch.autocast("cpu", torch.bfloat16):
            losses = [next_token_loss(self.model, inputs, labels) for inputs, labels in rows]
        return torch.stack(losses).mean().item()


def encode(tokenizer: Tokenizer, documents: Sequence[Document]) -> list[Ids]:
    """Token ids of each document."""
    encodings = tokenizer.encode_batch([document.text for document in documents])
    return [np.array(encoding.ids, np.int64) for encoding in encodings]


def held_out_batch(documents: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """A few evenly spaced rows of held-out text, to watch a run by."""
    tokens = np.concatenate(documents)
    starts = np.linspace(0, len(tokens) - SHORT_CONTEXT - 1, HELD_OUT_ROWS).astype(np.int64)
    rows = torch.from_numpy(tokens[starts[:, None] + np.arange(SHORT_CONTEXT + 1)])
    return rows[:, :-1], rows[:, 1:]


def export(model: LlamaForCausalLM, folder: Path) -> None:
    """Write config, generation config and bfloat16 weights in the layout transformers reads."""
    shipped = LlamaForCausalLM(model.config)
    shipped.load_state_dict(model.state_dict())
    shipped = shipped.to(torch.bfloat16)
    shipped.generation_config = GenerationConfig(
        bos_token_id=END_OF_TEXT_ID, eos_token_id=END_OF_TEXT_ID, pad_token_id=END_OF_TEXT_ID
    )
    shipped.save_pretrained(folder)


def make_tokenizer() -> None:
    """Learn the tokenizer from the training files and put it into both folders."""
    tokenizer = train_tokenizer(document.text for document in load_corpus().train)
    for folder in (TARGET, DRAFT):
        save_tokenizer(tokenizer, folder)


def make_target(options: argparse.Namespace) -> None:
    """Train the target model on the text itself."""
    Run(TARGET_SHAPE.build(), next_token_loss, options).train()


def make_draft(options: argparse.Namespace) -> None:
    """Train the draft model to say what the target says."""
    teacher = LlamaForCausalLM.from_pretrained(TARGET, dtype=torch.float32).eval().requires_grad_(False)
    Run(DRAFT_SHAPE.build(), distillation_loss(teacher), options).train()


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m models.train", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("tokenizer", help="learn the tokenizer both models share (then train both anew)")
    for name, folder, minutes, long_from in (("target", TARGET, 61.0, 0.67), ("draft", DRAFT, 50.0, 0.0)):
        command = commands.add_parser(name, help=f"train the {name} model")
        command.add_argument("--minutes", type=float, default=minutes, help="time to train for")
        command.add_argument("--checkpoint", type=Path, required=True, help="file to save to and resume from")
        command.add_argument("--output", type=Path, default=folder, help="model folder to write")
        command.add_argument(
            "--long-from",
            type=float,
            default=long_from,
            help="share of the time until rows grow to 1024",
        )
        command.add_argument("--matrix-rate", type=float, default=0.02, help="peak rate of Muon")
        command.add_argument("--rate", type=float, default=6e-3, help="peak rate of AdamW")
        command.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    return parser


def main() -> int:
    """Do what the command line asks."""
    options = arguments().parse_args()
    torch.manual_seed(0)
    if options.command == "tokenizer":
        make_tokenizer()
    elif options.command == "target":
        make_target(options)
    else:
        make_draft(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
