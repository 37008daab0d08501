"""What was measured of methods of quantization, as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.quantization_result import Measured
from engine.sanitise import display_text
from sessions.quantization_kept import Study
from workbench import astext
from workbench.views.quant_tables import (
    FlipRows,
    LayerRows,
    MethodRows,
    OutlierRows,
    TensorRows,
    as_it_is,
    layer_title,
)
from workbench.views.quant_text import predictions
from workbench.widgets.glyphs import Glyphs

NOTHING = "Nothing has been measured of this model yet: workbench compare-quant measures."


def quant_text(studies: Sequence[Study], glyphs: Glyphs, width: int) -> str:
    """Every method on every text."""
    if not studies:
        return "\n".join(astext.paragraphs([NOTHING], width))
    return "\n".join(line for study in studies for line in _study(study, glyphs, width))


def _study(study: Study, glyphs: Glyphs, width: int) -> Iterator[str]:
    yield astext.heading(f"{display_text(study.text.name)}, {predictions(study):,} predictions", width)
    yield from astext.table(MethodRows(study.methods, glyphs), width)
    yield from astext.paragraphs([as_it_is(study.methods[0].baseline)], width)
    for measured in study.methods:
        yield from _method(measured, width)
    yield astext.heading("channels of activations that stand out", width)
    yield from astext.table(OutlierRows(study.methods[0].baseline.outliers, glyphs), width)


def _method(measured: Measured, width: int) -> Iterator[str]:
    found = measured.method
    name = display_text(found.method)
    yield astext.heading(f"{name}: layers to blame, by the {found.blamed_by}", width)
    yield from astext.table(LayerRows(found), width)
    for layer in found.layers:
        yield astext.heading(f"{name}: tensors of {layer_title(layer.layer)}", width)
        yield from astext.table(TensorRows(layer.tensors), width)
    yield astext.heading(f"{name}: flipped tokens", width)
    yield from astext.table(FlipRows(found.flips), width)


__all__ = ["quant_text"]
