"""Linear layers give the same numbers in either layout, and the choice depends on the weight alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.model import linear
from engine.model.linear import PACK_FROM_BYTES, Linear
from engine.model.norm import RMSNorm

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def random(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=CLOSE[actual.dtype], rtol=CLOSE[actual.dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3, 70])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_both_layouts_give_what_torch_gives(
    dtype: torch.dtype, rows: int, biased: bool, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PACK_FROM_BYTES, dtype, 0 if packed else 1 << 60)
    x, weight = random(rows, 40, dtype=dtype), random(24, 40, dtype=dtype) / 8
    bias = random(24, dtype=dtype) if biased else None

    layer = Linear(weight, bias)

    assert layer.kernel == ("packed" if packed else "plain")
    close(layer(x), F.linear(x, weight, bias))


def test_small_float32_weights_stay_plain_and_all_others_are_packed() -> None:
    assert Linear(torch.zeros(64, 64)).kernel == "plain"
    assert Linear(torch.zeros(2048, 1024)).kernel == "packed"
    assert Linear(torch.zeros(64, 64, dtype=torch.bfloat16)).kernel == "packed"


def test_a_torch_without_the_packed_operator_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_pointwise", None)
    weight = random(24, 40, dtype=torch.bfloat16)
    x = random(2, 40, dtype=torch.bfloat16)

    layer = Linear(weight)

    assert layer.kernel == "plain"
    close(layer(x), F.linear(x, weight))


def test_an_operator_that_refuses_a_weight_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise RuntimeError("not this one")

    monkeypatch.setattr(linear, "_pointwise", refuse)
    assert Linear(random(24, 40, dtype=torch.bfloat16)).kernel == "plain"


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_is_that_of_torch(dtype: torch.dtype) -> None:
    x, weight = random(5, 3, 48, dtype=dtype) * 3, random(48, dtype=dtype)
    norm = RMSNorm(weight, 1e-3)(x)
    assert norm.dtype == dtype
    close(norm, F.rms_norm(x.float(), (48,), weight.float(), 1e-3).to(dtype))
