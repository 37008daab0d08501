"""Weights in fewer bits: what rounding costs, how they are packed, and that every kernel uses the same values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plugins.quantization import int4_kernel, int8, nf4, w8a8
from plugins.quantization.around import Reordered
from plugins.quantization.forms import projection_of
from plugins.quantization.grid import Codes, ScaledCodes, find_grid, from_codes, round_to_nearest, to_codes
from plugins.quantization.int4 import Int4
from plugins.quantization.int4_kernel import Int4Kernel, has_kernel
from plugins.quantization.nibbles import look_up, pack, pack_halves, pair_table, unpack, unpack_halves
from plugins.quantization.w8a8 import W8A8

BFLOAT16_ULP = 2.0**-8
floats = st.floats(-1e4, 1e4, width=32).filter(lambda value: value == 0 or abs(value) > 1e-3)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(st.lists(st.integers(0, 15), min_size=2, max_size=40).filter(lambda codes: len(codes) % 2 == 0))
def test_what_is_packed_two_a_byte_comes_out_again(codes: list[int]) -> None:
    packed = pack(torch.tensor(codes, dtype=torch.uint8))

    assert packed.nbytes == len(codes) // 2
    assert unpack(packed).tolist() == codes
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        levels = torch.arange(16, dtype=dtype)
        assert look_up(packed, pair_table(levels), dtype).tolist() == codes
        assert unpack_halves(pack_halves(torch.tensor(codes, dtype=torch.uint8)), dtype).tolist() == codes


@given(st.lists(floats, min_size=8, max_size=8), st.booleans())
def test_no_weight_is_further_from_its_level_than_half_a_scale(group: list[float], symmetric: bool) -> None:
    weight = torch.tensor([group])
    scale, zero = find_grid(weight, symmetric)
    off = (from_codes(to_codes(weight, scale, zero), scale, zero) - weight).abs()

    assert float(off.max()) <= float(scale) * (0.5 + 15 * BFLOAT16_ULP) * 1.0001


@given(st.lists(floats, min_size=8, max_size=8))
def test_the_sixteen_levels_are_the_best_there_are_for_a_group(group: list[float]) -> None:
    weight = torch.tensor([group])
    scale, zero = find_grid(weight, symmetric=False)
    codes = to_codes(weight, scale, zero)
    off = (from_codes(codes, scale, zero) - weight).abs()
    for level in range(16):
        other = from_codes(torch.full_like(codes, level), scale, zero)
        assert bool((off <= (other - weight).abs() * 1.0001).all())


@given(st.lists(floats, min_size=8, max_size=8))
def test_eight_bits_are_off_by_half_a_scale_at_most(row: list[float]) -> None:
    weight = torch.tensor([row])
    codes = int8.round_to_nearest(weight)
    limit = float(codes.scale) * (0.5 + 127 * BFLOAT16_ULP)

    assert float((codes.dense() - weight).abs().max()) <= limit * 1.0001


@given(st.lists(floats, min_size=16, max_size=16), st.booleans())
@settings(deadline=None)
def test_nf4_takes_the_nearest_of_its_levels(block: list[float], double: bool) -> None:
    weight = torch.tensor([block])
    codes = nf4.round_to_nearest(weight, 16, double)
    reach = float(weight.abs().max())
    widest = float(nf4.LEVELS.diff().max()) / 2
    nested = reach * 1e-5  # one block's magnitude is its own mean

    assert float((codes.dense() - weight).abs().max()) <= reach * widest * 1.0001 + nested


def test_nested_magnitudes_are_off_by_half_a_level_at_most() -> None:
    weight = random(96, 640)
    plain, double = (nf4.round_to_nearest(weight, 64, nested) for nested in (False, True))
    rows = slice(3, 90)
    spread = float((plain.reaches(rows) - float(double.reach.mean)).abs().max())  # type: ignore[union-attr]

    off = (double.reaches(rows) - plain.reaches(rows)).abs().max()
    assert 0 < float(off) <= spread / 255 * 1.001
    assert double.nbytes < plain.nbytes


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_four_bits_multiply_as_their_dense_weight_does(group: int, symmetric: bool, rows: int) -> None:
    codes, x = round_to_nearest(random(128, 256), group, symmetric), random(rows, 256, seed=1)

    kept = Int4(codes, None, torch.float32)
    torch.testing.assert_close(kept.dense(), codes.dense())
    torch.testing.assert_close(kept(x), x @ codes.dense().t(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("rows", [1, 7, int4_kernel.MOST_ROWS + 1])
def test_the_operators_own_layout_holds_the_same_weight(group: int, symmetric: bool, rows: int) -> None:
    codes = round_to_nearest(random(128, 256), group, symmetric)
    if not has_kernel(codes, torch.bfloat16):
        pytest.skip("this torch has no int4 operator")
    x, kept = random(rows, 256, seed=1).bfloat16(), Int4Kernel(codes, None)

    torch.testing.assert_close(kept.dense().float(), codes.dense(), atol=0.02, rtol=0.01)
    torch.testing.assert_close(kept(x).float(), x.float() @ codes.dense().t(), atol=0.15, rtol=0.02)


def test_the_operator_is_for_bfloat16_and_whole_blocks_only() -> None:
    codes = round_to_nearest(random(96, 64), 32, True)

    assert not has_kernel(round_to_nearest(random(64, 64), 32, True), torch.float32)
    assert not has_kernel(codes, torch.bfloat16)
    assert projection_of(codes, None, torch.bfloat16).kernel == "int4 dequantized"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, int8.MOST_ROWS + 1])
def test_eight_bits_multiply_as_their_dense_weight_does(dtype: torch.dtype, rows: int) -> None:
    codes, x = int8.round_to_nearest(random(96, 160)), random(rows, 160, seed=1).to(dtype)
    bias = random(96, seed=2).to(dtype)
    kept = projection_of(codes, bias, dtype)

    close = 1e-4 if dtype == torch.float32 else 0.15
    torch.testing.assert_close(kept.dense().float(), codes.dense(), atol=close, rtol=1e-2)
    torch.testing.assert_close(
        kept(x).float(), x.float() @ codes.dense().t() + bias.float(), atol=close, rtol=1e-2
    )


@pytest.mark.parametrize("prepack_from", [0, 1 << 40])
def test_w8a8_is_the_product_of_whole_numbers(prepack_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(w8a8, "PREPACK_FROM_BYTES", prepack_from)
    codes, x = int8.round_to_nearest(random(96, 160), activations=True), random(9, 160, seed=1)
    kept = W8A8(codes, None)
    scale = x.abs().amax(1, keepdim=True) / 127
    whole = (x / scale).round().double() @ codes.codes.double().t()

    torch.testing.assert_close(kept(x), (whole * codes.scale.double() * scale.double()).float())
    assert torch.equal(kept.dense(), codes.dense())


@pytest.mark.parametrize("prepack_from", [0, 1 << 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_of_w8a8_does_not_depend_on_the_batch(
    prepack_from: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(w8a8, "PREPACK_FROM_BYTES", prepack_from)
    kept = W8A8(int8.round_to_nearest(random(192, 640)), None)
    x = random(64, 640, seed=1).to(dtype)
    x[3] *= 1000

    together = kept(x)
    for rows in (slice(0, 1), slice(3, 4), slice(5, 13), slice(1, 64)):
        assert torch.equal(kept(x[rows]), together[rows])


def test_a_row_of_zeros_stays_one() -> None:
    kept = W8A8(int8.round_to_nearest(random(64, 64)), None)

    assert torch.equal(kept(torch.zeros(2, 64)), torch.zeros(2, 64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_codes_in_another_order_of_inputs_stand_for_the_same_weight(dtype: torch.dtype) -> None:
    weight, x = random(64, 128), random(3, 128, seed=1).to(dtype)
    order = torch.randperm(128, generator=torch.Generator().manual_seed(2))
    found = round_to_nearest(weight[:, order], 32, False)
    ordered = Codes(found.codes, found.scale, found.zero, order)

    kept = projection_of(ordered, None, dtype)
    assert isinstance(kept, Reordered)
    assert float((ordered.dense() - weight).abs().max()) < 0.3
    close = 1e-4 if dtype == torch.float32 else 0.15
    torch.testing.assert_close(kept.dense().float(), ordered.dense(), atol=close, rtol=0.01)
    torch.testing.assert_close(kept(x).float(), x.float() @ ordered.dense().t(), atol=close, rtol=0.02)


def test_inputs_are_divided_by_what_their_weights_were_scaled_with() -> None:
    weight, x, scale = random(64, 128), random(3, 128, seed=1), random(128, seed=2).abs() + 0.5
    scaled = ScaledCodes(round_to_nearest(weight * scale, 32, False), scale)

    kept = projection_of(scaled, None, torch.float32)
    torch.testing.assert_close(kept.dense(), scaled.dense())
    torch.testing.assert_close(kept(x), x @ scaled.dense().t(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_four_bits_take_less_than_a_third_of_sixteen(dtype: torch.dtype) -> None:
    weight = random(1280, 640)
    forms = [round_to_nearest(weight, 64, symmetric) for symmetric in (True, False)]
    forms.append(nf4.round_to_nearest(weight, 64, False))  # type: ignore[arg-type]

    for form in forms:
        assert projection_of(form, None, dtype).nbytes <= 0.30 * 2 * weight.numel()
