"""A comparison in plain sentences. Texts in a result are harmless already."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.divergence_result import KV, FirstStage, StageDifference
from engine.model.stage_names import FIRST_STAGES, OUTSIDE
from engine.wording import plural
from sessions.diff_result import DiffResult, FirstToken, PairDifference, Rebuilding, StageSearch

REFERENCE = "transformers"
MOST_NAMED = 8

MEANS = {
    "embed": "the embedding of the token",
    "attn_norm": "the norm before attention",
    "q": "the query projection",
    "k": "the key projection",
    "v": "the value projection",
    "q_rot": "the rotation of queries",
    "k_rot": "the rotation of keys",
    KV: "the cached keys and values",
    "attn_out": "attention over the cached keys and values",
    "attn_proj": "the output projection of attention",
    "resid_mid": "the residual sum after attention",
    "mlp_norm": "the norm before the MLP",
    "gate": "the gate projection",
    "up": "the up projection",
    "mlp_out": "the activation and down projection of the MLP",
    "resid_post": "the residual sum after the MLP",
    "final_norm": "the norm before the head",
    "logits": "the head",
}


def place(layer: int, stage: str) -> str:
    """A stage by its name, with its layer where it has one."""
    return stage if layer == OUTSIDE else f"layer {layer} {stage}"


def layer_name(layer: int, last_stage: str) -> str:
    """A layer in a plot over layers; a row that chose nothing has only `embed` outside them."""
    if layer != OUTSIDE:
        return f"layer {layer}"
    return last_stage if last_stage in FIRST_STAGES else "outside"


def by_layer(stages: Sequence[StageDifference]) -> list[tuple[int, list[StageDifference]]]:
    """The stages of each layer in the order of a pass; those outside stand where the last of them is reached."""
    layers: dict[int, list[StageDifference]] = {}
    for each in stages:
        found = layers.pop(each.layer, []) if each.layer == OUTSIDE else layers.get(each.layer, [])
        layers[each.layer] = [*found, each]
    return list(layers.items())


def number(value: float | None) -> str:
    """A small number in three digits; 0 is exact. None is a difference that is not finite."""
    if value is None:
        return "not finite"
    return "0" if value == 0 else f"{value:.3g}"


def first_token(first: FirstToken) -> str:
    """Where the tokens of a pair part, and by how little."""
    where = f"request {_pair(first.request, first.request_b)} position {first.position}"
    if first.prompt:
        tokens = f"{_token(first.a, first.text_a)} and {_token(first.b, first.text_b)}"
        return f"{where}: the prompts differ there, {tokens}"
    tokens = f"{_token(first.a, first.text_a)} in A, {_token(first.b, first.text_b)} in B"
    if first.a is None or first.b is None:
        return f"{where}: {tokens}"
    tie = "; recorded as a near tie, that rounding could have turned" if first.near_tie else ""
    return f"{where}: {tokens}; {_margins(first)}{tie}"


def first_stage(first: FirstStage) -> str:
    """Which stage parts two runs, and how surely."""
    where = f"{place(first.layer, first.stage)} at position {first.position}"
    size = f"max abs {number(first.max_abs)}, relative {number(first.rel)}, cosine {first.cosine:.6f}"
    if not first.beyond_rounding:
        return f"no stage differs by more than rounding; {where} is the first that differs at all ({size})"
    if first.stage == KV:
        owner = f"; {first.note}" if first.note else ""
        return (
            f"{where}: the cache of run {str(first.run).upper()} does not hold the key and value that its own"
            f" stages compute there ({size}){owner}"
        )
    return (
        f"{where}, {MEANS[first.stage]}: given the same inputs it is off by {number(first.own_rel)},"
        f" rounding explains {number(first.floor)} ({size})"
    )


def searched(search: StageSearch) -> str:
    """What the search found, or why there was none."""
    if search.divergence is None:
        return search.why_not
    if search.divergence.first is None:
        equal = f"every stage of row {search.divergence.row} is equal to the last bit in both runs"
        return f"{equal}: where tokens differ there, it is by the draw or the settings of the sampler"
    return first_stage(search.divergence.first)


def rebuilt(about: Rebuilding | None, name: str) -> str:
    """How a run was built again."""
    if about is None:
        return ""
    steps = f"{name}: {plural(about.steps, 'step')} ({plural(about.tokens, 'token')}) run again"
    if about.worst is None:
        return f"{steps}; no logits were recorded to compare with"
    close = "as recorded to the bit" if about.worst == 0 else f"within {about.worst:.1g} of the record"
    return f"{steps}; logits {close}"


def pair_summary(pair: PairDifference) -> str:
    """One pair in a line: how far its distributions lie apart up to where its tokens part."""
    if not pair.positions:
        return "nothing was chosen by both from the same tokens"
    agree, count = sum(each.same_top for each in pair.positions), len(pair.positions)
    moved = sum(each.rank_a != each.rank_b for each in pair.positions)
    said = f"top-1 agrees at {agree} of {count}, rank moved at {moved}"
    if pair.b == REFERENCE:
        return said
    return f"{said}, logits equal to the bit at {sum(each.same_logits for each in pair.positions)}"


def verdict(result: DiffResult) -> str:
    """The whole comparison in one line."""
    if result.b == REFERENCE:
        return _reference_verdict(result)
    alone = [*(f"{id_} of A" for id_ in result.only_a), *(f"{id_} of B" for id_ in result.only_b)]
    named = alone if len(alone) <= MOST_NAMED else [*alone[:MOST_NAMED], f"{len(alone) - MOST_NAMED:,} more"]
    more = f"; no partner for request {', '.join(named)}" if alone else ""
    if result.first_token is None and not alone:
        return f"identical: the tokens of {plural(len(result.pairs), 'pair')} of requests are the same"
    differing = sum(pair.first is not None for pair in result.pairs)
    return f"different: {differing} of {len(result.pairs)} pairs of requests part{more}"


def _reference_verdict(result: DiffResult) -> str:
    positions = plural(sum(len(pair.positions) for pair in result.pairs), "position")
    apart = sum(not each.same_top for pair in result.pairs for each in pair.positions)
    if not apart:
        return f"identical: at all of {positions} the same token is likeliest"
    return f"different: at {apart:,} of {positions} another token is likeliest"


def mark(basis: str) -> str:
    """The mark of a value that was not observed as a whole."""
    return {"captured": "", "recomputed": "≈", "top 20": "~"}[basis]


def bar(value: float | None, width: int, lowest: float = 1e-9) -> str:
    """A bar on a logarithmic scale from `lowest` to 1: empty for an exact 0."""
    return "█" * round(width * filled(value, lowest))


def filled(value: float | None, lowest: float = 1e-9) -> float:
    """How full a bar is on a logarithmic scale from `lowest` to 1; a value above 0 is never quite empty."""
    if value is None:
        return 1.0
    if value <= 0:
        return 0.0
    return min(1.0, max(0.02, 1 - math.log10(value) / math.log10(lowest)))


def _margins(first: FirstToken) -> str:
    a, b = first.margin_a, first.margin_b
    if a is None and b is None:
        return "no margins were recorded"
    if a is None or b is None:
        name, known, other = ("B", b, "A") if a is None else ("A", a, "B")
        return f"the top two lie {number(known)} apart in {name}, and {other} has no margin recorded"
    return f"the top two lie {number(a)} apart in A and {number(b)} in B"


def _pair(a: str, b: str) -> str:
    return a if a == b or b == REFERENCE else f"{a} and {b}"


def _token(token: int | None, text: str) -> str:
    return "the end" if token is None else f"'{text}' ({token})"
