"""What to store of each step's tensors while the engine runs: `--capture attn|logits|resid[:layers]`. No torch.

Stored is the row that chooses a token, for each token that is chosen: its raw logits, the residual stream
after layers, and what every head of layers attended to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from engine.option_error import OptionError

Kind = Literal["attn", "logits", "resid"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
STAGES: Final[dict[Kind, str]] = {"attn": "attn_pattern", "logits": "logits", "resid": "resid_post"}
"""The stage whose row each kind stores."""

_RANGE: Final = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?", re.ASCII)
_ALLOWED: Final = "use attn, logits or resid; attn and resid may name layers, as in attn:0-3 or resid:5,7"


class LayerRange(NamedTuple):
    """Layers `first` to `last`, both included."""

    first: int
    last: int


class CaptureSpec(NamedTuple):
    """One `--capture`; `ranges` is None for all layers."""

    kind: Kind
    ranges: tuple[LayerRange, ...] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything asked for, in layers of one model."""

    attn: frozenset[int] = frozenset()
    resid: frozenset[int] = frozenset()
    logits: bool = False

    def __bool__(self) -> bool:
        return self.logits or bool(self.attn or self.resid)


class TensorKey(msgspec.Struct, frozen=True):
    """Where a captured tensor belongs. `start` is the position of its first row."""

    branch: int
    step: int
    request: str | None
    layer: int | None
    stage: str
    start: int


class Captured(msgspec.Struct, frozen=True):
    """A tensor to keep: its elements in `data` are little endian, row-major; `dtype` as in safetensors."""

    key: TensorKey
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Taken(NamedTuple):
    """A float32 tensor of the input row `position` of `request`, before it is known which step that was."""

    request: str
    position: int
    layer: int | None
    stage: str
    shape: tuple[int, ...]
    data: bytes

    def of_step(self, branch: int, step: int) -> Captured:
        key = TensorKey(branch, step, self.request, self.layer, self.stage, self.position)
        return Captured(key, "F32", self.shape, self.data)


def parse(spec: str) -> CaptureSpec:
    """`attn`, `logits`, `resid:5,7`, `attn:0-3`. Raises OptionError."""
    name, colon, layers = spec.partition(":")
    if name not in KINDS or (name == "logits" and colon):
        raise _error(spec, _ALLOWED)
    ranges = tuple(_range(spec, part) for part in layers.split(",")) if colon else None
    return CaptureSpec(name, ranges)


def wanted(specs: Sequence[str], layers: int) -> Wanted:
    """What `specs` ask for of a model with this many layers. Raises OptionError for layers it does not have."""
    found: dict[Kind, set[int]] = {kind: set() for kind in KINDS}
    for spec in specs:
        kind, ranges = parse(spec)
        for first, last in ((0, layers - 1),) if ranges is None else ranges:
            if last >= layers:
                raise _error(spec, f"there is no layer {last}, the model has layers 0 to {layers - 1}")
            found[kind].update(range(first, last + 1))
    return Wanted(frozenset(found["attn"]), frozenset(found["resid"]), bool(found["logits"]))


def _range(spec: str, part: str) -> LayerRange:
    match = _RANGE.fullmatch(part)
    if match is None:
        raise _error(spec, f"{part!r} is no layer and no range of layers, name them as in attn:0-3 or resid:5,7")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if last < first:
        raise _error(spec, f"the range {part} ends before it begins, write {last}-{first}")
    return LayerRange(first, last)


def _error(spec: str, allowed: str) -> OptionError:
    return OptionError(f"capture is {spec!r}: {allowed}")
