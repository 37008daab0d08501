"""`models ls` and `models show`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workbench.cli.console import print_json, print_pairs, print_table
from workbench.cli.folders import DEFAULT_MODEL
from workbench.cli.model_card import ModelCard, describe
from workbench.cli.model_finder import find_models, resolve_model
from workbench.cli.sizes import show_count, show_size


def list_models(paths: Sequence[Path], json: bool) -> None:
    """Every model found, a line each."""
    cards = [describe(model.folder, model.name, model.source) for model in find_models(paths)]
    if json:
        print_json(cards)
        return
    head = ("name", "from", "architecture", "parameters", "stored as", "context", "size", "runs")
    print_table(head, [_row(card) for card in cards], right=(3, 5, 6))


def show_model(name: str | None, json: bool) -> None:
    """Everything the headers say about one model."""
    folder = DEFAULT_MODEL if name is None else resolve_model(name)
    card = describe(folder, name or folder.name)
    if json:
        print_json(card)
        return
    print_pairs(_pairs(card))
    print()
    print_table(("file", "size"), [(file.name, show_size(file.size_bytes)) for file in card.files], right=(1,))


def _row(card: ModelCard) -> tuple[object, ...]:
    return (
        card.name,
        card.source,
        card.architecture or "-",
        "-" if card.parameters is None else show_count(card.parameters),
        card.dtype or "-",
        card.context_tokens or "-",
        show_size(card.size_bytes),
        "yes" if card.runs else "no",
    )


def _pairs(card: ModelCard) -> list[tuple[str, object]]:
    heads = None if card.heads is None else f"{card.heads} over {card.kv_heads} KV heads of {card.head_dim}"
    kv = None if card.kv_bytes_per_token is None else f"{card.kv_bytes_per_token} bytes"
    return [
        ("model", card.name),
        ("folder", card.path),
        ("architecture", card.architecture),
        ("parameters", None if card.parameters is None else f"{card.parameters:,}"),
        ("stored as", card.dtype),
        ("context", None if card.context_tokens is None else f"{card.context_tokens} tokens"),
        ("layers", card.layers),
        ("hidden size", card.hidden_size),
        ("heads", heads),
        ("vocabulary", card.vocab_size),
        ("KV per token", kv),
        ("size", show_size(card.size_bytes)),
        ("runs here", "yes" if card.runs else f"no: {card.why_not}"),
    ]
