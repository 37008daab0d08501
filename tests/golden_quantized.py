"""Makes `tests/golden/quantized.safetensors` again with the formats' own libraries, where they are installed.

    python -m tests.golden_quantized            says what would differ from the file
    python -m tests.golden_quantized --write    writes what the installed libraries make over it

The file holds one weight `[32, 64]` and what each library packs and decodes it to. compressed-tensors,
bitsandbytes, AutoAWQ, GPTQModel and torchao are not needed by the project or its tests: install them elsewhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

FILE: Final = Path(__file__).parent / "golden" / "quantized.safetensors"
OUTPUTS, INPUTS, GROUP = 32, 64, 32
Tensors = dict[str, Tensor]


def grid(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and zeros `[out, groups]` of 16 levels that hold 0, scales as float16 holds them."""
    groups = weight.view(OUTPUTS, -1, GROUP)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scale = ((high - low) / 15).half().float()
    return scale, (-low / scale).round().clamp(0, 15)


def by_compressed_tensors(file: Tensors) -> Tensors:
    from compressed_tensors.compressors.naive_quantized import IntQuantizationCompressor
    from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    weight = file["weight"]

    def made(name: str, compressor: Any, **settings: Any) -> Tensors:
        args = QuantizationArgs(**settings)
        groups = weight.view(OUTPUTS, -1, args.group_size or INPUTS)
        scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        given = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero.to(torch.int8)}
        packed = compressor.compress(given, scheme)
        dense = compressor.decompress(packed, scheme)["weight"]
        return {f"{name}.{part}": each for part, each in (packed | {"dense": dense.float()}).items()}

    four: dict[str, Any] = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": GROUP}
    eight: dict[str, Any] = {"num_bits": 8, "type": "int", "strategy": "channel"}
    return (
        made("ct4_sym", PackedQuantizationCompressor, symmetric=True, **four)
        | made("ct4_asym", PackedQuantizationCompressor, symmetric=False, **four)
        | made("ct8_pack", PackedQuantizationCompressor, symmetric=True, **eight)
        | made("ct8_int", IntQuantizationCompressor, symmetric=True, **eight)
    )


def by_bitsandbytes(file: Tensors) -> Tensors:
    from bitsandbytes import functional

    weight = file["weight"]
    found: Tensors = {}
    for kind in ("nf4", "fp4"):
        for nested in (False, True):
            packed, state = functional.quantize_4bit(weight, None, None, 64, nested, kind)
            name = f"bnb_{kind}{'_nested' if nested else ''}"
            found |= {f"{name}.weight.{part}": each for part, each in state.as_dict(packed=True).items()}
            found[f"{name}.weight"] = packed
            found[f"{name}.dense"] = functional.dequantize_4bit(packed, state).float()
    codes, magnitude, _ = functional.int8_vectorwise_quant(weight.half())
    found |= {"bnb_int8.weight": codes, "bnb_int8.SCB": magnitude}
    found["bnb_int8.dense"] = functional.int8_vectorwise_dequant(codes, magnitude).float()
    return found


def by_autoawq(file: Tensors) -> Tensors:
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    scale, zero = (each.t().contiguous() for each in grid(file["weight"]))
    packed = WQLinear_GEMM.from_linear(linear_of(file["weight"]), 4, GROUP, scales=scale, zeros=zero)
    dense = dequantize_gemm(packed.qweight, packed.qzeros, packed.scales.float(), 4, GROUP).t()
    return {f"awq.{part}": getattr(packed, part) for part in ("qweight", "qzeros", "scales")} | {
        "awq.dense": dense.contiguous()
    }


def by_gptqmodel(file: Tensors) -> Tensors:
    """With a zero of 0 and one of 15, which the first format stores as -1 and as 14."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear

    weight, found = file["weight"], {}
    for name, group_of in (("gptq", torch.arange(INPUTS) // GROUP), ("gptq_ordered", file["gptq_ordered.g_idx"])):
        scale, zero = grid(weight[:, group_of.argsort(stable=True)])
        zero[0, 0], zero[1, 1] = 0, 15
        layer = TorchLinear(4, GROUP, False, name != "gptq", INPUTS, OUTPUTS, bias=False)
        layer.pack(linear_of(weight), scale, zero, group_of.to(torch.int32))
        layer.post_init()
        found |= {f"{name}.{part}": getattr(layer, part) for part in ("qweight", "scales", "g_idx")}
        found[f"{name}.qzeros_v2"] = layer.qzeros
        found[f"{name}.qzeros"] = layer.qzeros - 0x11111111  # as the first format stores them
        layer.scales = layer.scales.float()  # what it decodes to is not rounded to float16
        found[f"{name}.dense"] = layer.dequantize_weight().t().float()
    return found


def by_torchao(file: Tensors) -> Tensors:
    from torchao.quantization import quant_primitives as ao

    weight = file["weight"]

    def rounded(kind: Any, least: int, most: int, group: int) -> Tensor:
        size = (1, group)
        scale, zero = ao.choose_qparams_affine(weight, kind, size, torch.int8, least, most)
        codes = ao.quantize_affine(weight, size, scale, zero, torch.int8, least, most)
        return ao.dequantize_affine(codes, size, scale, zero, torch.int8, least, most)

    return {
        "torchao.int8": rounded(ao.MappingType.SYMMETRIC, -127, 127, INPUTS),
        "torchao.int4_sym": rounded(ao.MappingType.SYMMETRIC, -8, 7, GROUP),
        "torchao.int4_asym": rounded(ao.MappingType.ASYMMETRIC, 0, 15, GROUP),
    }


LIBRARIES: Final[dict[str, Callable[[Tensors], Tensors]]] = {
    "compressed_tensors": by_compressed_tensors,
    "bitsandbytes": by_bitsandbytes,
    "awq": by_autoawq,
    "gptqmodel": by_gptqmodel,
    "torchao": by_torchao,
}


def linear_of(weight: Tensor) -> torch.nn.Linear:
    linear = torch.nn.Linear(INPUTS, OUTPUTS, bias=False)
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    return linear


def difference(stored: Tensor | None, made: Tensor) -> str:
    """How a tensor differs from the stored one; empty where it does not."""
    if stored is None:
        return "is not in the file"
    if stored.shape != made.shape or stored.dtype != made.dtype:
        return f"is {made.dtype} {list(made.shape)}, in the file {stored.dtype} {list(stored.shape)}"
    if torch.equal(stored, made):
        return ""
    return f"differs by up to {float((stored.double() - made.double()).abs().max()):.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    stored = load_file(FILE)
    found = dict(stored)
    for library, make in LIBRARIES.items():
        if find_spec(library) is None:
            print(f"{library} is not installed")
            continue
        made = {name: each.contiguous() for name, each in make(stored).items()}
        apart = {name: said for name, each in made.items() if (said := difference(stored.get(name), each))}
        print(f"{library}: {len(made) - len(apart)} of {len(made)} tensors as in the file")
        for name, said in apart.items():
            print(f"  {name} {said}")
        found |= made
    if write:
        save_file(found, FILE)


if __name__ == "__main__":
    main()
