"""From tensors as the formats store them to codes."""

from __future__ import annotations

import sys
from typing import Annotated, cast

import msgspec
import torch
from torch import Tensor

from engine.model.errors import ModelError, shown
from plugins.quantization.grid import MIDDLE, Codes
from plugins.quantization.int8 import TOP, Codes8
from plugins.quantization.layouts.base import Read, require
from plugins.quantization.nf4 import Nested, NormalCodes

AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""Of eight outputs in order, which four bits of an int32 hold each."""

ONE_EACH = 0x11111111


def nibbles(packed: Tensor) -> Tensor:
    """`[..., n]` int32 as `[..., 8 n]` uint8 below 16, the lowest bits first."""
    assert sys.byteorder == "little"
    in_bytes = packed.contiguous().view(torch.uint8)
    return torch.stack((in_bytes & 15, in_bytes >> 4), -1).flatten(-2)


def read_gptq(read: Read, less_one: bool) -> Codes:
    qzeros = require(read, "qzeros")
    codes = nibbles(require(read, "qweight").t())
    zero = nibbles(qzeros + ONE_EACH if less_one else qzeros).t()
    found = Codes(codes, require(read, "scales").t().contiguous(), zero.contiguous())
    return _in_order(found, read("g_idx"))


def read_awq(read: Read) -> Codes:
    codes, zero = (_awq_order(nibbles(require(read, part))).t().contiguous() for part in ("qweight", "qzeros"))
    return Codes(codes, require(read, "scales").t().contiguous(), zero)


def _awq_order(stored: Tensor) -> Tensor:
    return stored.view(len(stored), -1, 8)[:, :, list(AWQ_PLACES)].flatten(1)


def read_compressed4(read: Read) -> Codes:
    scale = require(read, "weight_scale")
    outputs, inputs = _shape(read, len(scale))
    codes = nibbles(require(read, "weight_packed"))[:, :inputs]
    packed_zero = read("weight_zero_point")
    if packed_zero is None:
        zero = torch.full(scale.shape, MIDDLE, dtype=torch.uint8)
    else:
        zero = nibbles(packed_zero.t())[:, :outputs].t().contiguous()
    return _in_order(Codes(codes.contiguous(), scale, zero), read("weight_g_idx"))


def read_compressed8(read: Read, activations: bool) -> Codes8:
    scale = require(read, "weight_scale")
    codes = read("weight")
    if codes is None:
        _, inputs = _shape(read, len(scale))
        in_bytes = require(read, "weight_packed").contiguous().view(torch.uint8)
        codes = (in_bytes[:, :inputs].to(torch.int16) - 128).to(torch.int8)
    return Codes8(codes, scale.flatten(), activations)


def _shape(read: Read, outputs: int) -> tuple[int, int]:
    rows, columns = require(read, "weight_shape").tolist()
    words = require(read, "weight_packed")
    if rows != outputs or not 0 < columns <= words.shape[1] * 8:
        raise ModelError(f"weight_shape is {shown([rows, columns])}: the packed weight has another shape")
    return rows, columns


def _in_order(codes: Codes, group_of: Tensor | None) -> Codes:
    """The codes with their inputs sorted by group, where they are not."""
    if group_of is None:
        return codes
    groups = codes.scale.shape[1]
    if not torch.equal(group_of.long().sort().values, torch.arange(groups).repeat_interleave(codes.group)):
        raise ModelError("g_idx does not put the same number of inputs in every group: it cannot be read")
    order = group_of.argsort(stable=True)
    if torch.equal(order, torch.arange(len(order))):
        return codes
    return Codes(codes.codes[:, order], codes.scale, codes.zero, order)


class _State(msgspec.Struct):
    """What is read of bitsandbytes' quant_state."""

    shape: tuple[int, int]
    blocksize: Annotated[int, msgspec.Meta(ge=1)]
    nested_blocksize: Annotated[int, msgspec.Meta(ge=1)] = 256
    nested_offset: float = 0.0


def read_four_bits(read: Read, state_part: str) -> NormalCodes | Tensor:
    state = _state(require(read, state_part))
    rows, columns = state.shape
    stored = require(read, "weight").flatten()
    magnitudes = require(read, "weight.absmax")
    if 2 * len(stored) != rows * columns or len(magnitudes) != -(-rows * columns // state.blocksize):
        raise ModelError(f"quant_state has shape {shown(list(state.shape))}: the weight has another one")
    levels, reach = require(read, "weight.quant_map"), _reach(read, state, magnitudes)
    swapped = (stored >> 4) | (stored << 4)
    if columns % state.blocksize == 0:
        blocks = columns // state.blocksize
        kept = reach if isinstance(reach, Nested) else reach.view(rows, blocks)
        return NormalCodes(swapped.view(rows, -1), kept, blocks, levels)
    codes = torch.stack((stored >> 4, stored & 15), -1).flatten()
    flat = reach if isinstance(reach, Tensor) else reach(slice(0, len(magnitudes)))
    return (levels[codes.int()] * flat.repeat_interleave(state.blocksize)[: len(codes)]).view(rows, columns)


def _state(stored: Tensor) -> _State:
    try:
        return msgspec.json.decode(bytes(cast("list[int]", stored.tolist())), type=_State)
    except msgspec.DecodeError as error:
        raise ModelError(f"quant_state of a weight cannot be read: {error}") from error


def _reach(read: Read, state: _State, magnitudes: Tensor) -> Tensor | Nested:
    nested = read("weight.nested_absmax")
    if nested is None:
        return magnitudes
    if len(nested) < -(-len(magnitudes) // state.nested_blocksize):
        raise ModelError(f"quant_state has nested_blocksize {state.nested_blocksize}: it does not fit the weight")
    levels = require(read, "weight.nested_quant_map")
    return Nested(magnitudes, nested, state.nested_offset, levels, state.nested_blocksize)


def read_eight_bits(read: Read) -> Codes8:
    weight_format = read("weight_format")
    if weight_format is not None and int(weight_format) != 0:
        raise ModelError(f"weight_format is {int(weight_format)}: only 0 (row after row) can be read")
    return Codes8(require(read, "weight"), require(read, "SCB") / TOP)
