"""A linear layer that keeps its weight in the layout that runs fastest for its type and size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Kernel = Literal["plain", "packed"]

# Smallest weight, in bytes, that is packed. Two-byte types go through oneDNN anyway and gain at every size;
# in float32 BLAS is ahead on small matrices, where a call's fixed cost counts.
PACK_FROM_BYTES = {torch.float32: 8 << 20, torch.bfloat16: 0, torch.float16: 0}

# The number of rows that the blocked layout is made for: 64 is as fast as 1 in decode, and 1.3 times faster
# than it in prefill.
ROWS_HINT = 64


class Linear:
    """`x [rows, in] -> x @ weight.T + bias  [rows, out]`.

    `kernel` says how: "packed" is oneDNN's blocked layout; "plain" is a matrix product with the weight kept
    transposed, `[in, out]`, which BLAS reads faster than `[out, in]` when rows are few. The choice depends
    on the weight alone and is never timed, so that a run can be repeated bit by bit.
    """

    __slots__ = ("_apply", "bias", "kernel", "weight")

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        packed = _packed(weight) if weight.nbytes >= PACK_FROM_BYTES[weight.dtype] else None
        self.kernel: Kernel = "plain" if packed is None else "packed"
        self.weight = weight.t().contiguous() if packed is None else packed
        self.bias = bias
        self._apply = _plain if packed is None else _linear_packed

    @property
    def nbytes(self) -> int:
        """Bytes that weight and bias take."""
        return self.weight.nbytes + (0 if self.bias is None else self.bias.nbytes)

    def dense(self) -> Tensor:
        """The weight, `[out, in]`."""
        weight: Tensor = self.weight.to_dense() if self.kernel == "packed" else self.weight.t()
        return weight

    def __call__(self, x: Tensor) -> Tensor:
        return self._apply(x, self.weight, self.bias)


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.mm(x, weight) if bias is None else torch.addmm(bias, x, weight)


def _linear_packed(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    assert _pointwise is not None
    return _pointwise(x, weight, bias, "none", [], "")


def _packed(weight: Tensor) -> Tensor | None:
    """`weight` in oneDNN's layout; None where this build of torch has none, or the device is no CPU."""
    if weight.device.type != "cpu" or _pointwise is None:
        return None
    try:
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS_HINT)
        _linear_packed(weight.new_zeros(1, weight.shape[1]), packed, None)
    except (AttributeError, RuntimeError):
        return None
    return packed


def _find_pointwise() -> Callable[..., Tensor] | None:
    """oneDNN's linear operator: private to torch, so it may be absent."""
    try:
        return torch.ops.mkldnn._linear_pointwise.default
    except AttributeError:
        return None


_pointwise = _find_pointwise()
