"""What was measured of methods of quantization, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from engine.quantization_result import Baseline, Flip, LayerError, Measured, MethodResult, Outlier, TensorError
from engine.sanitise import display_text
from workbench.views.sizes import written_bytes
from workbench.widgets.columns import Column
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.spans import Bar, Line, Span


class Rows:
    """A table of what stays as it is: no row has changed."""

    def changed(self, index: int) -> bool:  # noqa: ARG002
        return False


class MethodRows(Rows):
    """One row for each method, and what it did to bytes and predictions."""

    columns: Sequence[Column] = (
        Column("method", least=10),
        Column("weights that changed", 21, "right", priority=3),
        Column("all bytes", 9, "right", priority=2),
        Column("bits", 5, "right"),
        Column("perplexity", 10, "right", priority=1),
        Column("change", 7, "right"),
        Column("mean KL", 8, "right"),
        Column("same top 1", 10, "right", priority=1),
        Column("flipped", 7, "right"),
    )

    def __init__(self, methods: Sequence[Measured], glyphs: Glyphs) -> None:
        self.methods = methods
        self._arrow = glyphs.arrow

    def __len__(self) -> int:
        return len(self.methods)

    def row(self, index: int) -> Sequence[Line]:
        found, base = self.methods[index].method, self.methods[index].baseline
        before, after = written_bytes(found.quantized_before), written_bytes(found.quantized_after)
        return (
            Span(display_text(found.method), "strong"), Span(f"{before} {self._arrow} {after}", "dim"),
            Span(written_bytes(found.bytes), "dim"), Span(f"{found.bits_per_weight:.2f}"),
            Span(f"{found.perplexity:.4f}"), Span(f"{found.perplexity / base.perplexity - 1:+.2%}", "accent"),
            Span(f"{found.kl_mean:.5f}"), Span(f"{found.top1_agreement:.2%}"), Span(f"{found.flipped:,}"),
        )  # fmt: skip


def as_it_is(base: Baseline) -> str:
    """The model that methods are measured against."""
    return (
        f"as it is: {written_bytes(base.bytes)}, {written_bytes(base.embedding_bytes)} of it the embedding,"
        f" perplexity {base.perplexity:.4f}"
    )


class LayerRows(Rows):
    """One row for each layer, the one that is most to blame first; KL where each was tried by itself."""

    def __init__(self, method: MethodResult) -> None:
        by_layer = {layer.layer: layer for layer in method.layers}
        self.layers = [by_layer[layer] for layer in method.blame]
        self._most = max(map(blame, self.layers), default=0.0)
        self._tried = any(layer.alone is not None for layer in self.layers)

    @property
    def columns(self) -> Sequence[Column]:
        tried = (Column("KL alone", 8, "right"), Column("KL all but", 10, "right", priority=1))
        return (
            Column("layer", 7, "right"), Column("weights off", 11, "right"),
            Column("cosine", 8, "right", priority=3), Column("stream off", 10, "right", priority=2),
            *(tried if self._tried else ()), Column("blame", least=6),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.layers)

    def row(self, index: int) -> Sequence[Line]:
        layer = self.layers[index]
        return (
            Span(layer_name(layer.layer), "strong"), Span(f"{layer.relative:.5f}"),
            Span(f"{layer.cosine:.6f}", "dim"), _number(layer.stream_relative, 5),
            *((_number(layer.alone, 6), _number(layer.all_but, 6)) if self._tried else ()),
            Bar(blame(layer) / self._most if self._most else 0.0, "warn"),
        )  # fmt: skip


def blame(layer: LayerError) -> float:
    """What orders layers: the KL with it alone quantized, or its weights' error where that was not tried."""
    return layer.relative if layer.alone is None else layer.alone


def layer_name(layer: int) -> str:
    return "lm_head" if layer < 0 else str(layer)


def layer_title(layer: int) -> str:
    """A layer in a title: `layer 3`, or the output matrix."""
    return layer_name(layer) if layer < 0 else f"layer {layer}"


def _number(value: float | None, digits: int) -> Span:
    return Span("–", "faint") if value is None else Span(f"{value:.{digits}f}", "dim")


class TensorRows(Rows):
    """One row for each tensor of a layer."""

    columns: Sequence[Column] = (
        Column("tensor", least=7),
        Column("off", 8, "right"),
        Column("cosine", 8, "right", priority=2),
        Column("worst output", 12, "right"),
        Column("off", 8, "right"),
    )

    def __init__(self, tensors: Sequence[TensorError]) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors)

    def row(self, index: int) -> Sequence[Line]:
        tensor = self.tensors[index]
        return (
            Span(tensor.tensor, "strong"), Span(f"{tensor.relative:.5f}"), Span(f"{tensor.cosine:.6f}", "dim"),
            Span(f"{tensor.channel:,}", "dim"), Span(f"{tensor.channel_relative:.5f}"),
        )  # fmt: skip


class FlipRows(Rows):
    """Tokens whose likeliest successor changed, those that led by most first."""

    columns: Sequence[Column] = (
        Column("at", 7, "right"),
        Column("was", least=6),
        Column("is", least=6),
        Column("margin", 7, "right"),
    )

    def __init__(self, flips: Sequence[Flip]) -> None:
        self.flips = flips

    def __len__(self) -> int:
        return len(self.flips)

    def row(self, index: int) -> Sequence[Line]:
        flip = self.flips[index]
        return (
            Span(f"{flip.position:,}", "dim"), Span(quoted(flip.full_text)),
            Span(quoted(flip.quantized_text), "changed"), Span(f"{flip.margin:.3f}"),
        )  # fmt: skip

    def index_of(self, position: int) -> int | None:
        """The row of a text position; None where its token did not flip, or is not among these."""
        return next((index for index, flip in enumerate(self.flips) if flip.position == position), None)


def quoted(text: str) -> str:
    """A token's text, harmless, in quotes."""
    return f"'{display_text(text)}'"


class OutlierRows(Rows):
    """Channels of activations that are much larger than others, in the model as it is."""

    columns: Sequence[Column] = (
        Column("layer", 5, "right"),
        Column("stage", least=9),
        Column("channel", 7, "right"),
        Column("largest", 8, "right", priority=1),
        Column("of median", 9, "right"),
    )

    def __init__(self, outliers: Sequence[Outlier], glyphs: Glyphs) -> None:
        self.outliers = outliers
        self._times = glyphs.times

    def __len__(self) -> int:
        return len(self.outliers)

    def row(self, index: int) -> Sequence[Line]:
        each = self.outliers[index]
        return (
            Span(str(each.layer), "dim"), Span(each.stage), Span(f"{each.channel:,}", "strong"),
            Span(f"{each.largest:.2f}", "dim"), Span(f"{self._times}{each.times_median:.1f}"),
        )  # fmt: skip


__all__ = [
    "FlipRows", "LayerRows", "MethodRows", "OutlierRows", "TensorRows", "as_it_is", "blame", "layer_name",
    "layer_title", "quoted",
]  # fmt: skip
