"""`adapters show`: what an adapter changes in a model, and what that does to the next token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.sanitise import display_text
from workbench.cli.console import print_json, print_table
from workbench.cli.errors import CommandError
from workbench.cli.folders import DEFAULT_MODEL
from workbench.cli.model_finder import resolve_model
from workbench.cli.torch_threads import wait_passively

MOST_CHANGED = 3
MOST_TOKENS = 8


class ProjectionChanged(msgspec.Struct, frozen=True):
    """One projection: norms (Frobenius) of what is added to its weight, and of the weight; `ratio` of the two."""

    layer: int
    projection: str
    rank: int
    change: float
    weight: float
    ratio: float


class TokenChanged(msgspec.Struct, frozen=True):
    """A token that may come next: its logit and its probability, without the adapter and with it."""

    token: int
    text: str
    logit: float
    logit_with: float
    probability: float
    probability_with: float


class NextToken(msgspec.Struct, frozen=True):
    """What it does to the token after `prompt`: KL(with ‖ without) in nats, and the tokens that it moves most."""

    prompt: str
    kl: float
    tokens: tuple[TokenChanged, ...]


class AdapterShown(msgspec.Struct, frozen=True):
    """An adapter held against a model. `projections` come layer after layer."""

    adapter: str
    model: str
    sha256: str
    rank: int
    alpha: float
    projections: tuple[ProjectionChanged, ...]
    next_token: NextToken | None = None


def show_adapter(folder: Path, model: str | None, prompt: str | None, json: bool) -> None:
    """Print what the adapter in `folder` changes. Raises ModelError where it is for another model."""
    if prompt == "":
        raise CommandError("the prompt is empty: give at least one character of text")
    wait_passively()
    shown = _look(folder, DEFAULT_MODEL if model is None else resolve_model(model), prompt)
    print_json(shown) if json else _print(shown)


def _look(folder: Path, model: Path, prompt: str | None) -> AdapterShown:
    import torch

    from engine.model.config import read_config
    from engine.model.lora.adapter import load_adapter
    from engine.model.lora.config import read_adapter_config
    from engine.model.lora.files import adapter_sha256
    from engine.model.lora.measures import measure
    from engine.model.weights import load_decoder

    adapter, config = load_adapter(folder, read_config(model)), read_adapter_config(folder)
    decoder = load_decoder(model, torch.float32)
    projections = tuple(
        ProjectionChanged(each.layer, each.part, each.rank, each.change, each.weight, each.ratio)
        for each in measure(decoder, adapter)
    )
    after = None if prompt is None else _next_token(model, decoder, adapter, prompt)
    return AdapterShown(
        str(folder), model.name, adapter_sha256(folder), config.rank, config.alpha, projections, after
    )


def _next_token(model: Path, decoder: object, adapter: object, prompt: str) -> NextToken:
    import numpy as np

    from engine.model.decoder import Decoder
    from engine.model.lora.adapter import Adapter
    from engine.model.lora.measures import logits_beside
    from engine.text.convert import load_tokenizer

    assert isinstance(decoder, Decoder)
    assert isinstance(adapter, Adapter)
    tokenizer = load_tokenizer(model)
    ids = tokenizer.encode(prompt)
    if len(ids) >= decoder.config.context_tokens:
        raise CommandError(f"the prompt has {len(ids)} tokens; the context holds {decoder.config.context_tokens}")
    without, with_ = (row.double().numpy() for row in logits_beside(decoder, adapter, ids))
    before, after = (np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in (without, with_))
    kl = float((after * (np.log(after + 1e-300) - np.log(before + 1e-300))).sum())
    moved = np.argsort(-np.abs(after - before), kind="stable")[:MOST_TOKENS]
    tokens = tuple(
        TokenChanged(
            int(token), tokenizer.token_text(int(token)), float(without[token]), float(with_[token]),
            float(before[token]), float(after[token]),
        )
        for token in moved
    )  # fmt: skip
    return NextToken(prompt, kl, tokens)


def _print(shown: AdapterShown) -> None:
    parts = list(dict.fromkeys(each.projection for each in shown.projections))
    names = [part.rpartition(".")[2].removesuffix("_proj") for part in parts]
    print_table(("layer", *names), _rows(shown.projections, parts), list(range(1, len(parts) + 1)))
    most = sorted(shown.projections, key=lambda each: -each.ratio)[:MOST_CHANGED]
    places = ", ".join(f"layer {each.layer} {each.projection} {each.ratio:.1%}" for each in most)
    print(f"\nwhat is added, as a part of the weight's norm; most in {places}")
    print(f"rank {shown.rank}, alpha {shown.alpha:g}, {len(shown.projections)} projections of {shown.model}")
    if shown.next_token is not None:
        _print_next(shown.next_token)


def _rows(projections: Sequence[ProjectionChanged], parts: Sequence[str]) -> list[tuple[object, ...]]:
    ratios = {(each.layer, each.projection): f"{each.ratio:.1%}" for each in projections}
    layers = sorted({each.layer for each in projections})
    return [(layer, *(ratios.get((layer, part), "–") for part in parts)) for layer in layers]


def _print_next(after: NextToken) -> None:
    print(f"\nafter the prompt: KL(with ‖ without) {after.kl:.4f} nats; the tokens it moves most")
    rows = [
        (
            f"'{display_text(each.text)}'", f"{each.logit:.3f}", f"{each.logit_with:.3f}",
            f"{each.probability:.4f}", f"{each.probability_with:.4f}",
        )
        for each in after.tokens
    ]  # fmt: skip
    print_table(("token", "logit", "with", "p", "with"), rows, [1, 2, 3, 4])
