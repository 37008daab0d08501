"""A weight in fewer bits, whichever way; and the projection that runs it best in a compute type."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.model.projection import Projection
from plugins.quantization.around import Reordered, Scaled
from plugins.quantization.grid import Codes, ScaledCodes
from plugins.quantization.int4 import Int4
from plugins.quantization.int4_kernel import Int4Kernel, has_kernel
from plugins.quantization.int8 import Codes8, Int8
from plugins.quantization.nf4 import Nf4, NormalCodes
from plugins.quantization.w8a8 import W8A8

Form = Codes | ScaledCodes | Codes8 | NormalCodes


def projection_of(form: Form, bias: Tensor | None, dtype: torch.dtype) -> Projection:
    """What multiplies by `form`, for inputs of type `dtype`. It may keep the form's own tensors."""
    match form:
        case Codes8(activations=True):
            return W8A8(form, bias)
        case Codes8():
            return Int8(form, bias, dtype)
        case NormalCodes():
            return Nf4(form, bias, dtype)
        case ScaledCodes(codes, scale):
            inner = projection_of(codes, bias, dtype)
            return inner if bool((scale == 1).all()) else Scaled(inner, (1 / scale).to(dtype))
        case Codes(order=order):
            inner = Int4Kernel(form, bias) if has_kernel(form, dtype) else Int4(form, bias, dtype)
            return inner if order is None else Reordered(inner, order)
