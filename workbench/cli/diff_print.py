"""A comparison of two runs, for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.divergence_result import Divergence, StageDifference
from engine.model.stage_names import OUTSIDE
from engine.sanitise import display_text
from sessions.diff_result import DiffResult, PairDifference
from sessions.diff_words import (
    REFERENCE,
    bar,
    by_layer,
    first_token,
    layer_name,
    mark,
    number,
    pair_summary,
    place,
    rebuilt,
    searched,
    verdict,
)  # fmt: skip
from workbench.cli.console import print_table

BAR = 24
MOST_PAIRS = 40
MOST_STAGES = 64


def print_diff(result: DiffResult) -> None:
    """The verdict, then pairs, the first differing token and stage, and the stages."""
    print(f"A  {display_text(result.a)}")
    print(f"B  {display_text(result.b)}")
    print(verdict(result))
    _print_pairs(result.pairs)
    _print_reruns(result)
    if result.first_token is not None:
        print(f"\nfirst differing token: {first_token(result.first_token)}")
    if result.search is not None:
        _print_search(result)


def _print_pairs(pairs: Sequence[PairDifference]) -> None:
    print()
    head = ("A", "B", "chosen", "parts at", "largest KL", "distributions")
    print_table(head, [_pair_row(pair) for pair in pairs[:MOST_PAIRS]], right=(2, 3, 4))
    if len(pairs) > MOST_PAIRS:
        print(f"… and {len(pairs) - MOST_PAIRS} more: --json has them all")
    if any(each.basis == "top 20" for pair in pairs for each in pair.positions):
        print("~ over the recorded top 20, all other tokens taken together: a lower bound")


def _print_reruns(result: DiffResult) -> None:
    for about, name in zip(result.reruns or (), "AB", strict=False):
        close = (
            f"{about.equal} of {about.positions} as recorded to the bit, largest difference {number(about.worst)}"
        )
        print(f"≈ {name} was run again for its whole logits: {close}")


def _pair_row(pair: PairDifference) -> tuple[object, ...]:
    worst = pair.largest_kl
    kl = (
        "-"
        if worst is None
        else f"{'' if worst.same_logits else mark(worst.basis)}{number(worst.kl)} at {worst.position}"
    )
    parts = "-" if pair.first is None else pair.first.position
    return (pair.a, pair.b, len(pair.positions), parts, kl, pair_summary(pair))


def _print_search(result: DiffResult) -> None:
    assert result.search is not None
    print(f"\nfirst differing stage: {searched(result.search)}")
    names = ("ours", "") if result.b == REFERENCE else ("A", "B")
    for about, name in zip((result.search.a, result.search.b), names, strict=True):
        if about is not None:
            print(f"  {rebuilt(about, name)}")
    if result.search.divergence is not None:
        _print_layers(result.search.divergence)
        _print_stages(result.search.divergence)


def _print_layers(found: Divergence) -> None:
    """A plot over layers: how far the residual streams are apart, and what each layer adds by itself."""
    print(f"\nrow {found.position}, relative difference by layer (bars from 1e-9 to 1)")
    for layer, stages in by_layer(found.stages):
        last, worst = stages[-1], max(stages, key=lambda each: math.inf if each.own_rel is None else each.own_rel)
        beyond = next((each for each in stages if each.beyond), None)
        name = layer_name(layer, last.stage)
        own = "own 0" if worst.own_rel == 0 else f"own {number(worst.own_rel)} {worst.stage}"
        flag = f"  ✗ {beyond.stage}" if beyond is not None else ""
        print(f"  {name:9} {bar(last.rel, BAR):{BAR}} {number(last.rel):>9}  {own}{flag}".rstrip())


def _print_stages(found: Divergence) -> None:
    """Every stage of a small model; of a large one the layer that is blamed, and what is outside the layers."""
    shown = list(found.stages)
    if len(shown) > MOST_STAGES:
        blamed = found.first.layer if found.first is not None else 0
        shown = [each for each in shown if each.layer in (blamed, OUTSIDE)]
    print()
    head = ("stage", "max abs", "relative", "cosine", "own", "rounding", "")
    print_table(head, [_stage_row(each) for each in shown], right=(1, 2, 3, 4, 5))
    if len(shown) < len(found.stages):
        print(f"{len(shown)} of {len(found.stages)} stages: --json has them all")


def _stage_row(each: StageDifference) -> tuple[object, ...]:
    return (
        place(each.layer, each.stage), number(each.max_abs), number(each.rel), f"{each.cosine:.6f}",
        number(each.own_rel), number(each.floor), "✗ beyond rounding" if each.beyond else "",
    )  # fmt: skip
