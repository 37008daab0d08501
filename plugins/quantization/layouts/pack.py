"""From codes to tensors as the formats store them: what `unpack` reads."""

from __future__ import annotations

import json

import torch
from torch import Tensor
from torch.nn import functional as F

from plugins.quantization.grid import MIDDLE, Codes, columns_back
from plugins.quantization.int8 import Codes8
from plugins.quantization.layouts.bitsandbytes import STATE
from plugins.quantization.layouts.unpack import AWQ_PLACES, ONE_EACH
from plugins.quantization.nf4 import Nested, NormalCodes
from plugins.quantization.nibbles import pack

Tensors = dict[str, Tensor]
"""By the last part of their names."""


def words(codes: Tensor) -> Tensor:
    """`[..., 8 n]` uint8 below 16 as `[..., n]` int32, the first in the lowest bits."""
    return pack(codes).contiguous().view(torch.int32)


def gptq_tensors(codes: Codes) -> Tensors:
    """Zeros are stored less one; inputs lie in their own order, `g_idx` says where their group is."""
    inputs = codes.codes.shape[1]
    group_of = torch.arange(inputs, dtype=torch.int32) // codes.group
    if codes.order is not None:
        group_of = torch.empty_like(group_of).index_copy_(0, codes.order, group_of)
    return {
        "qweight": words(_own_order(codes)).t().contiguous(),
        "qzeros": words(codes.zero.t()) - ONE_EACH,
        "scales": codes.scale.t().to(torch.float16).contiguous(),
        "g_idx": group_of,
    }


def awq_tensors(codes: Codes) -> Tensors:
    return {
        "qweight": _awq_words(codes.codes.t()),
        "qzeros": _awq_words(codes.zero.t()),
        "scales": codes.scale.t().to(torch.float16).contiguous(),
    }


def _awq_words(codes: Tensor) -> Tensor:
    stored = torch.empty_like(codes.reshape(len(codes), -1, 8))
    stored[:, :, list(AWQ_PLACES)] = codes.reshape(len(codes), -1, 8)
    return words(stored.flatten(1))


def compressed4_tensors(codes: Codes) -> Tensors:
    tensors = {
        "weight_packed": words(codes.codes),
        "weight_scale": codes.scale,
        "weight_shape": torch.tensor(codes.codes.shape),
    }
    if bool((codes.zero == MIDDLE).all()):
        return tensors
    return tensors | {"weight_zero_point": words(codes.zero.t()).t().contiguous()}


def compressed8_tensors(codes: Codes8) -> Tensors:
    """Packed, or plain int8 where activations are rounded too."""
    scale = codes.scale[:, None]
    if codes.activations:
        return {"weight": codes.codes, "weight_scale": scale}
    unsigned = (codes.codes.to(torch.int16) + 128).to(torch.uint8)
    packed = F.pad(unsigned, (0, -unsigned.shape[1] % 4)).view(torch.int32)
    return {"weight_packed": packed, "weight_scale": scale, "weight_shape": torch.tensor(codes.codes.shape)}


def four_bit_tensors(codes: NormalCodes, dtype: str) -> Tensors:
    rows, half = codes.packed.shape
    swapped = (codes.packed >> 4) | (codes.packed << 4)
    state = {
        "quant_type": "nf4",
        "blocksize": 2 * half // codes.blocks,
        "dtype": dtype,
        "shape": [rows, 2 * half],
    }
    tensors = {"weight": swapped.view(-1, 1), "weight.quant_map": codes.levels.clone()}
    if isinstance(codes.reach, Nested):
        state |= {
            "nested_blocksize": codes.reach.block,
            "nested_dtype": "float32",
            "nested_offset": codes.reach.mean,
        }
        tensors |= {
            "weight.absmax": codes.reach.codes,
            "weight.nested_absmax": codes.reach.reach,
            "weight.nested_quant_map": codes.reach.levels.clone(),
        }
    else:
        tensors["weight.absmax"] = codes.reach.flatten()
    tensors[f"{STATE}nf4"] = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)
    return tensors


def _own_order(codes: Codes) -> Tensor:
    return codes.codes if codes.order is None else columns_back(codes.codes, codes.order)
