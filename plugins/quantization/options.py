"""What each method can be told, as typed structs: `layers:0-3,keep:lm_head,group:32`. No torch.

Several names or ranges in one field are joined by `+`, as in `keep:lm_head+down`.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from engine.option_error import OptionError

PROJECTIONS: Final = ("qkv", "o", "gate_up", "down", "lm_head")
_RANGE: Final = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?", re.ASCII)

Group = Literal[16, 32, 64, 128, 256]


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Which projections a method takes. All of them by default.

    Projections are qkv, o, gate_up, down and lm_head. With `layers` or `only` given, lm_head is taken only when
    `only` names it.
    """

    layers: Annotated[str, Meta(description="the layers, such as 0-3+8")] = ""
    only: Annotated[str, Meta(description="projections to quantize, such as qkv+down")] = ""
    keep: Annotated[str, Meta(description="projections to keep as they are, such as lm_head")] = ""

    def __post_init__(self) -> None:
        _ranges(self.layers)
        _names("only", self.only)
        _names("keep", self.keep)

    def covers(self, layer: int, name: str) -> bool:
        """Whether the projection `name` of `layer` (any number for lm_head) is to be quantized."""
        if name in _names("keep", self.keep):
            return False
        if self.only and name not in _names("only", self.only):
            return False
        if name == "lm_head":
            return bool(self.only) or not self.layers
        return not self.layers or any(first <= layer <= last for first, last in _ranges(self.layers))

    def check(self, layers: int) -> None:
        """Raise OptionError for layers that a model with this many does not have."""
        for _, last in _ranges(self.layers):
            if last >= layers:
                raise OptionError(
                    f"layers is {self.layers!r}: there is no layer {last}, the model has layers 0 to {layers - 1}"
                )


class Int8Options(Where, frozen=True, kw_only=True):
    """Eight bits, one scale for each output."""


class W8A8Options(Where, frozen=True, kw_only=True):
    """Eight bits for weights and activations."""


class Int4Options(Where, frozen=True, kw_only=True):
    """Four bits, a scale and a zero for each group of inputs."""

    group: Annotated[Group, Meta(description="inputs that share a scale")] = 64
    symmetric: Annotated[bool, Meta(description="levels around 0: no zero for each group")] = False


class Calibrated(Int4Options, frozen=True, kw_only=True):
    """Of methods that look at activations."""

    text: Annotated[str, Meta(description="a file to calibrate on, instead of the bundled sample")] = ""
    samples: Annotated[int, Meta(ge=1, le=4096, description="pieces of the text")] = 32
    length: Annotated[int, Meta(ge=2, le=4096, description="tokens in a piece")] = 256


class GptqOptions(Calibrated, frozen=True, kw_only=True):
    """Four bits, errors made up for by later inputs."""

    act_order: Annotated[bool, Meta(description="round the inputs that matter most first")] = True
    damping: Annotated[float, Meta(gt=0, le=1, description="part of the mean curvature that is added")] = 0.05


class AwqOptions(Calibrated, frozen=True, kw_only=True):
    """Four bits, finer where activations are large."""

    clip: Annotated[bool, Meta(description="search for narrower ranges too")] = True


class Nf4Options(Where, frozen=True, kw_only=True):
    """Four bits on the levels of a normal distribution."""

    block: Annotated[Group, Meta(description="weights that share a magnitude")] = 64
    double: Annotated[bool, Meta(description="keep magnitudes in eight bits too")] = False


def _ranges(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(_range(text, part) for part in text.split("+")) if text else ()


def _range(text: str, part: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(part)
    if match is None:
        raise OptionError(f"layers is {text!r}: {part!r} is no range of layers, write 0-3 or 0-3+8")
    first = int(match[1])
    last = int(match[2] or first)
    if last < first:
        raise OptionError(f"layers is {text!r}: the range {part} ends before it begins, write {last}-{first}")
    return first, last


def _names(option: str, text: str) -> frozenset[str]:
    names = frozenset(text.split("+")) if text else frozenset()
    for name in sorted(names):
        if name not in PROJECTIONS:
            raise OptionError(f"{option} is {text!r}: {name!r} is none of {', '.join(PROJECTIONS)}")
    return names
