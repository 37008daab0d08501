"""A comparison of quantization methods, as tables and plots of characters."""

from __future__ import annotations

from collections.abc import Sequence

from engine.quantization_result import (
    Baseline,
    Histogram,
    LayerError,
    MethodResult,
    QuantizationResult,
)
from workbench.cli.console import print_pairs, print_table
from workbench.cli.sizes import show_size

BAR = 30
ROWS = 32
SHOWN_FLIPS = 8
SHOWN_OUTLIERS = 5


def print_comparison(result: QuantizationResult) -> None:
    """The methods beside each other, then each by itself."""
    base = result.baseline
    print_pairs(
        [
            ("model", f"{result.model}, computing in {result.dtype}"),
            ("text", f"{result.text}: {result.positions:,} predictions of {result.tokens:,} tokens"),
            ("window", f"{result.window} tokens, one every {result.stride}: each token is predicted once"),
            ("embedding", f"{show_size(base.embedding_bytes)}, among all bytes below, as it was"),
        ]
    )
    print()
    head = (
        "method", "all bytes", "quantized, before", "after", "bits/weight", "perplexity", "change", "mean KL",
        "same top 1", "flipped",
    )  # fmt: skip
    rows = [_base_row(base), *(_row(method, base) for method in result.methods)]
    print_table(head, rows, right=range(1, len(head)))
    for method in result.methods:
        _print_method(method)
    _print_outliers(base)


def _base_row(base: Baseline) -> Sequence[str]:
    return ("as it is", show_size(base.bytes), "-", "-", "-", f"{base.perplexity:.4f}", "-", "-", "-", "-")


def _row(method: MethodResult, base: Baseline) -> Sequence[str]:
    return (
        method.method, show_size(method.bytes), show_size(method.quantized_before),
        show_size(method.quantized_after), f"{method.bits_per_weight:.2f}", f"{method.perplexity:.4f}",
        f"{method.perplexity / base.perplexity - 1:+.2%}", f"{method.kl_mean:.5f}",
        f"{method.top1_agreement:.2%}", str(method.flipped),
    )  # fmt: skip


def _print_method(method: MethodResult) -> None:
    print(f"\n{method.method}: layers, most to blame first, by the {method.blamed_by}")
    by_layer = {layer.layer: layer for layer in method.layers}
    ordered = [by_layer[layer] for layer in method.blame]
    _print_layers(ordered)
    _print_tensors(ordered)
    worst = max(
        ((layer, tensor.relative, at) for layer in method.layers for at, tensor in enumerate(layer.tensors)),
        key=lambda each: each[1],
    )
    print()
    _print_histogram(worst[0], worst[0].histograms[worst[2]])
    _print_flips(method)


def _name(layer: int) -> str:
    return "lm_head" if layer < 0 else str(layer)


def _print_layers(layers: Sequence[LayerError]) -> None:
    most = max(_blame(layer) for layer in layers)
    rows = [
        (
            _name(layer.layer), f"{layer.relative:.5f}", f"{layer.cosine:.6f}",
            "-" if layer.stream_relative is None else f"{layer.stream_relative:.5f}",
            "-" if layer.alone is None else f"{layer.alone:.6f}",
            "-" if layer.all_but is None else f"{layer.all_but:.6f}",
            bar(_blame(layer), most),
        )
        for layer in layers
    ]  # fmt: skip
    head = ("layer", "weights off", "cosine", "stream off", "KL alone", "KL all but", "blame")
    print_table(head, rows, right=range(6))


def _blame(layer: LayerError) -> float:
    return layer.relative if layer.alone is None else layer.alone


def _print_tensors(layers: Sequence[LayerError]) -> None:
    print()
    rows = [
        (
            _name(layer.layer), tensor.tensor, f"{tensor.relative:.5f}", f"{tensor.cosine:.6f}", tensor.channel,
            f"{tensor.channel_relative:.5f}",
        )
        for layer in sorted(layers, key=lambda each: (each.layer < 0, each.layer))
        for tensor in layer.tensors
    ]  # fmt: skip
    print_table(("layer", "tensor", "off", "cosine", "worst channel", "off"), rows, right=(0, 2, 3, 4, 5))


def bar(value: float, most: float) -> str:
    """As long as `value` is large; anything above nothing shows."""
    return "#" * (max(1, round(BAR * value / most)) if value > 0 and most > 0 else 0)


def _print_histogram(layer: LayerError, found: Histogram) -> None:
    print(
        f"weights of {_name(layer.layer)} {found.tensor}, in units of each group's grid:"
        f" {len(found.levels)} levels (o), {found.outside} weights beyond them"
    )
    together = len(found.counts) // ROWS
    width = (found.last - found.first) / ROWS
    counts = [sum(found.counts[row * together : (row + 1) * together]) for row in range(ROWS)]
    for row, count in enumerate(counts):
        low = found.first + row * width
        held = sum(low <= level < low + width for level in found.levels)
        mark = "o" if held == 1 else f"o x{held}" if held else ""
        print(f"{low:8.2f}  {mark:<5} {bar(count, max(counts))}".rstrip())


def _print_flips(method: MethodResult) -> None:
    if not method.flips:
        print("\nno token flipped")
        return
    shown = method.flips[:SHOWN_FLIPS]
    print(f"\nflipped tokens, the {len(shown)} that led by most of {method.flipped}")
    rows = [
        (flip.position, repr(flip.full_text), repr(flip.quantized_text), f"{flip.margin:.3f}") for flip in shown
    ]
    print_table(("text token", "was", "is", "margin in logits"), rows, right=(0, 3))


def _print_outliers(base: Baseline) -> None:
    shown = base.outliers[:SHOWN_OUTLIERS]
    if not shown:
        print("\nno channel of activations stands out")
        return
    print("\nchannels of activations that stand out, in the model as it is")
    rows = [
        (each.layer, each.stage, each.channel, f"{each.largest:.2f}", f"{each.times_median:.1f}")
        for each in shown
    ]
    print_table(("layer", "stage", "channel", "largest", "of median"), rows, right=(0, 2, 3, 4))
