"""Measure the models that ship with the project, on files no training saw.

python -m models.measure text [FOLDER]        bits per byte and next-token accuracy on held-out files
python -m models.measure xz                   what `xz -9e` needs on the same files
python -m models.measure induction [FOLDER]   induction score of every head, on repeated random tokens
python -m models.measure agreement            how often the draft says what the target says
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaForCausalLM

from models.corpus import load_corpus
from models.vocabulary import CONTEXT, END_OF_TEXT_ID, VOCABULARY

__all__ = ["Agreement", "Induction", "TextScore", "agreement", "induction", "load", "score_text"]

HERE = Path(__file__).parent
TARGET = HERE / "tiny-python"
DRAFT = HERE / "tiny-python-draft"


@dataclass(frozen=True, slots=True)
class TextScore:
    """How well a model predicts some texts. Every token is scored once, end-of-text not counted."""

    texts: int
    bytes: int
    tokens: int
    bits_per_byte: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Induction:
    """The head that looks back best: its mean attention to what followed this token the time before."""

    layer: int
    head: int
    score: float
    scores: tuple[tuple[float, ...], ...]  # [layer][head]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often draft and target choose the same greedy token, and how many of 4 drafted ones would stand."""

    tokens: int
    same: float
    accepted_of_4: float


def load(folder: Path) -> tuple[LlamaForCausalLM, Tokenizer]:
    """The model in fp32, and its tokenizer."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


@torch.inference_mode()
def score_text(model: LlamaForCausalLM, tokenizer: Tokenizer, texts: Sequence[str]) -> TextScore:
    """Score each text from its start, in windows of the whole context that overlap by half."""
    bits, right, tokens = 0.0, 0, 0
    for text in texts:
        ids = torch.tensor([END_OF_TEXT_ID, *tokenizer.encode(text).ids])
        tokens += len(ids) - 1
        for window, new in windows(len(ids)):
            inputs, labels = ids[window][:-1], ids[window][1:]
            logits = model(input_ids=inputs[None], use_cache=False).logits[0, -new:]
            chosen = logits.log_softmax(-1).gather(1, labels[-new:, None])
            bits -= chosen.sum().item() / math.log(2)
            right += int((logits.argmax(-1) == labels[-new:]).sum())
    size = sum(len(text.encode()) for text in texts)
    return TextScore(len(texts), size, tokens, bits / size, right / tokens)


def windows(length: int) -> Iterator[tuple[slice, int]]:
    """Slices of at most CONTEXT + 1 ids, and how many predictions at the end of each are new."""
    scored = 1
    while scored < length:
        stop = min(length, CONTEXT + 1 if scored == 1 else scored + CONTEXT // 2)
        yield slice(max(0, stop - CONTEXT - 1), stop), stop - scored
        scored = stop


@torch.inference_mode()
def induction(model: LlamaForCausalLM, rows: int = 16, span: int = 64, seed: int = 0) -> Induction:
    """Score every head on `rows` sequences that say `span` random tokens twice.

    A head's score is its mean attention from each token of the second time to the token that followed the
    same token the first time: from position `span + i` to `i + 1` (Olsson et al. 2022, "In-context Learning
    and Induction Heads").
    """
    generator = torch.Generator().manual_seed(seed)
    once = torch.randint(END_OF_TEXT_ID + 1, VOCABULARY, (rows, span), generator=generator)
    attentions = model(input_ids=once.repeat(1, 2), use_cache=False, output_attentions=True).attentions
    scores = torch.stack([_looks_back(pattern, span) for pattern in attentions])
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    return Induction(layer, head, scores[layer, head].item(), tuple(map(tuple, scores.tolist())))


def _looks_back(pattern: Tensor, span: int) -> Tensor:
    """Mean of one diagonal of a pattern `[rows, heads, 2 span, 2 span]`, for each head."""
    query = torch.arange(span, 2 * span)
    return pattern[:, :, query, query - span + 1].mean(dim=(0, 2))


@torch.inference_mode()
def agreement(
    target: LlamaForCausalLM, draft: LlamaForCausalLM, prompts: Sequence[Sequence[int]], new_tokens: int = 64
) -> Agreement:
    """Let the target go on greedily from each prompt; compare the draft's own choice at every new token."""
    rows = []
    for prompt in prompts:
        text = target.generate(torch.tensor([prompt]), max_new_tokens=new_tokens, do_sample=False)
        chosen = draft(input_ids=text[:, :-1], use_cache=False).logits.argmax(-1)
        rows.append((chosen == text[:, 1:])[0, len(prompt) - 1 :])
    return Agreement(
        tokens=sum(len(row) for row in rows),
        same=torch.cat(rows).float().mean().item(),
        accepted_of_4=_mean_accepted(rows, 4),
    )


def _mean_accepted(rows: Sequence[Tensor], drafted: int) -> float:
    """Mean number of leading agreements in the next `drafted` tokens, wherever a draft could begin."""
    windows = torch.cat([row.float().unfold(0, drafted, 1) for row in rows if len(row) >= drafted])
    return windows.cumprod(1).sum(1).mean().item()


def held_out_texts() -> list[str]:
    """The held-out files, in order of their paths."""
    return [document.text for document in load_corpus().held_out]


def xz_bits_per_byte(texts: Sequence[str]) -> float:
    """Bits per byte of `xz -9e` on all texts as one stream, which is to xz's advantage."""
    data = "".join(texts).encode()
    return 8 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) / len(data)


def held_out_prompts(tokenizer: Tokenizer, prompts: int = 48, length: int = 96) -> list[list[int]]:
    """The start of every long enough held-out file, cut in pieces, evenly thinned to `prompts` of them."""
    pieces = [
        ids[start : start + length]
        for ids in (tokenizer.encode(text).ids for text in held_out_texts())
        for start in range(0, len(ids) - length, length)
    ]
    return pieces[:: len(pieces) // prompts][:prompts]


def _measure(options: argparse.Namespace) -> dict[str, object]:
    if options.command == "xz":
        return {"xz_bits_per_byte": xz_bits_per_byte(held_out_texts())}
    if options.command == "agreement":
        target, tokenizer = load(TARGET)
        draft, _ = load(DRAFT)
        return asdict(agreement(target, draft, held_out_prompts(tokenizer)))
    model, tokenizer = load(options.folder)
    if options.command == "induction":
        return asdict(induction(model))
    return asdict(score_text(model, tokenizer, held_out_texts()))


def main() -> int:
    """Print the measure the command line asks for, as JSON."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m models.measure", description=summary)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("text", "induction"):
        commands.add_parser(name).add_argument("folder", type=Path, nargs="?", default=TARGET)
    commands.add_parser("xz")
    commands.add_parser("agreement")
    print(json.dumps(_measure(parser.parse_args()), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
