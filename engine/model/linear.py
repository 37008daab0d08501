"""A linear layer that keeps its weight in the layout that runs fastest for its size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Kernel = Literal["plain", "packed"]

# Below this many weight bytes the packed call costs more than the better layout saves (docs/performance).
PACK_FROM_BYTES = 1 << 20


class Linear:
    """`x [rows, in] -> x @ weight.T + bias  [rows, out]`.

    `kernel` says how: "packed" is oneDNN's blocked layout, 1.5 to 4 times faster on CPU for large weights;
    "plain" is `F.linear`. The choice depends on the weight alone, so that a run can be repeated exactly.
    """

    __slots__ = ("_apply", "bias", "kernel", "weight")

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        packed = _packed(weight) if weight.nbytes >= PACK_FROM_BYTES else None
        self.kernel: Kernel = "plain" if packed is None else "packed"
        self.weight = weight if packed is None else packed
        self.bias = bias
        self._apply = F.linear if packed is None else _linear_packed

    def __call__(self, x: Tensor) -> Tensor:
        return self._apply(x, self.weight, self.bias)


def _packed(weight: Tensor) -> Tensor | None:
    """`weight` in oneDNN's layout; None where this build of torch cannot, or the device is no CPU."""
    if weight.device.type != "cpu" or _pointwise is None:
        return None
    try:
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, 1)
        _pointwise(weight.new_zeros(1, weight.shape[1]), packed, None, "none", [], "")
    except (AttributeError, RuntimeError):
        return None
    return packed


def _linear_packed(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    assert _pointwise is not None
    return _pointwise(x, weight, bias, "none", [], "")


def _find_pointwise() -> Callable[..., Tensor] | None:
    try:
        return torch.ops.mkldnn._linear_pointwise.default
    except AttributeError:
        return None


_pointwise = _find_pointwise()
