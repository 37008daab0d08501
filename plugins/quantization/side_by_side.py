"""Several projections of the same input as one: their rows put together where they are alike, else one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.model.linear import Linear
from engine.model.projection import Projection
from plugins.quantization.forms import Form, projection_of
from plugins.quantization.grid import Codes
from plugins.quantization.int8 import Codes8
from plugins.quantization.nf4 import NormalCodes


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Outputs of several projections one after the other; biases are their own."""

    parts: tuple[Projection, ...]

    @property
    def kernel(self) -> str:
        return " + ".join(dict.fromkeys(part.kernel for part in self.parts))

    @property
    def bias(self) -> Tensor | None:
        biases = [part.bias for part in self.parts]
        return None if biases[0] is None else torch.cat([bias for bias in biases if bias is not None])

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    def dense(self) -> Tensor:
        return torch.cat([part.dense() for part in self.parts])

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], -1)


def side_by_side(forms: Sequence[Form | Tensor], bias: Tensor | None, dtype: torch.dtype) -> Projection:
    """What runs `forms`, each `[out, in]`; `bias` is that of all outputs."""
    whole = forms[0] if len(forms) == 1 else _together(forms)
    if whole is not None:
        return _projection(whole, bias, dtype)
    rows = [_rows(form) for form in forms]
    biases = [None] * len(forms) if bias is None else [part.clone() for part in bias.split_with_sizes(rows)]
    return SideBySide(tuple(_projection(form, own, dtype) for form, own in zip(forms, biases, strict=True)))


def _projection(form: Form | Tensor, bias: Tensor | None, dtype: torch.dtype) -> Projection:
    if isinstance(form, Tensor):
        return Linear(form.to(dtype), bias)
    return projection_of(form, bias, dtype)


def _rows(form: Form | Tensor) -> int:
    match form:
        case Codes() | Codes8():
            return len(form.codes)
        case NormalCodes():
            return len(form.packed)
        case Tensor():
            return len(form)
    raise AssertionError(form)


def _together(forms: Sequence[Form | Tensor]) -> Form | None:
    """One form of all rows; None where they differ in more than their values."""
    return _grids(forms) or _bytes(forms) or _normals(forms)


def _grids(forms: Sequence[Form | Tensor]) -> Codes | None:
    alike = [form for form in forms if isinstance(form, Codes)]
    if len(alike) < len(forms) or not all(_same_groups(form, alike[0]) for form in alike):
        return None
    codes, scale, zero = (
        torch.cat([getattr(form, part) for form in alike]) for part in ("codes", "scale", "zero")
    )
    return Codes(codes, scale, zero, alike[0].order)


def _same_groups(form: Codes, first: Codes) -> bool:
    if form.group != first.group:
        return False
    if form.order is None or first.order is None:
        return form.order is first.order
    return torch.equal(form.order, first.order)


def _bytes(forms: Sequence[Form | Tensor]) -> Codes8 | None:
    alike = [form for form in forms if isinstance(form, Codes8)]
    if len(alike) < len(forms):
        return None
    codes, scale = (torch.cat([getattr(form, part) for form in alike]) for part in ("codes", "scale"))
    return Codes8(codes, scale, alike[0].activations)


def _normals(forms: Sequence[Form | Tensor]) -> NormalCodes | None:
    """Nested magnitudes stay apart: those of each weight have their own mean."""
    alike = [form for form in forms if isinstance(form, NormalCodes) and isinstance(form.reach, Tensor)]
    if len(alike) < len(forms) or not all(_same_levels(form, alike[0]) for form in alike):
        return None
    packed, reach = (torch.cat([getattr(form, part) for form in alike]) for part in ("packed", "reach"))
    return NormalCodes(packed, reach, alike[0].blocks, alike[0].levels)


def _same_levels(form: NormalCodes, first: NormalCodes) -> bool:
    return form.blocks == first.blocks and torch.equal(form.levels, first.levels)
