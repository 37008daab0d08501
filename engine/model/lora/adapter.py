"""Adapters as tensors: what each adds to the projections of a layer, which are computed fused.

The base projection gives `y = W x`, and an adapter adds `scale · B (A x)` to the rows of the requests that run
with it. `q`, `k` and `v` are one product here, and so are `gate` and `up`; their factors A lie side by side, so
that the rows are multiplied with all of them at once, and each part's B adds to its own columns:

    x [rows, in] ── down [in, r_q + r_v] ──┬── up_q ──▶ y[:, 0 : q]
                                           └── up_v ──▶ y[:, q + k : q + k + v]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from engine.model.config import ModelConfig
from engine.model.lora.files import AdapterFiles, Pair, open_adapter, projection_shapes
from engine.model.projection import Place, ProjectionName

FUSED: Mapping[ProjectionName, tuple[str, ...]] = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""The parts of each projection, in the order of their rows."""

Multiply = Callable[[Tensor, Tensor], Tensor]
"""`[rows, in] x [in, out] -> [rows, out]`"""


@dataclass(frozen=True, slots=True)
class Part:
    """Adds to the columns `out` of the fused projection what `up [rank, columns]` makes of `ranks` of the middle.

    `up` is B transposed, times the scale.
    """

    ranks: slice
    out: slice
    up: Tensor


@dataclass(frozen=True, slots=True)
class Change:
    """What an adapter adds to one projection: `down [in, ranks]`, float32, and the parts that it feeds."""

    down: Tensor
    parts: tuple[Part, ...]

    def add_(self, x: Tensor, y: Tensor, multiply: Multiply = torch.mm) -> None:
        """Add to `y [rows, out]` what it makes of `x [rows, in]`: in float32, and rounded once."""
        middle = multiply(x.float(), self.down)
        for part in self.parts:
            y[:, part.out] += multiply(middle[:, part.ranks], part.up)

    def dense(self, columns: int) -> Tensor:
        """The change as a weight, `[out, in]`, of a projection of `columns` outputs; float32."""
        whole = self.down.new_zeros(columns, self.down.shape[0])
        for part in self.parts:
            whole[part.out] = (self.down[:, part.ranks] @ part.up).t()
        return whole


@dataclass(frozen=True, slots=True)
class Adapter:
    """The changes of one adapter by place; a projection that it leaves alone has none."""

    changes: Mapping[Place, Change]


@dataclass(frozen=True, slots=True)
class Adapters:
    """The adapters of a run by name. `multiply` is how rows go through their factors."""

    by_name: Mapping[str, Adapter] = field(default_factory=dict)
    multiply: Multiply = torch.mm

    def __bool__(self) -> bool:
        return bool(self.by_name)

    def add_(self, name: str, place: Place, x: Tensor, y: Tensor) -> None:
        """Add to `y [rows, out]` what adapter `name` makes of `x [rows, in]` at `place`; nothing for ""."""
        change = self.by_name[name].changes.get(place) if name else None
        if change is not None:
            change.add_(x, y, self.multiply)


NO_ADAPTERS = Adapters()


def load_adapter(folder: Path, model: ModelConfig) -> Adapter:
    """The adapter in `folder`, in float32, for a model of this config. Raises ModelError (`open_adapter`)."""
    files = open_adapter(folder, model)
    by_place: dict[Place, list[Pair]] = {}
    for pair in files.pairs:
        name = next(name for name, parts in FUSED.items() if pair.part in parts)
        by_place.setdefault(Place(pair.layer, name), []).append(pair)
    columns = {part: rows for part, (rows, _) in projection_shapes(model).items()}
    with safe_open(files.weights, framework="pt") as weights:
        read: Callable[[str], Tensor] = weights.get_tensor
        changes = {place: _change(place, pairs, columns, read) for place, pairs in by_place.items()}
    return Adapter(changes)


def _change(
    place: Place, pairs: Sequence[Pair], columns: Mapping[str, int], read: Callable[[str], Tensor]
) -> Change:
    parts = FUSED[place.name]
    pairs = sorted(pairs, key=lambda pair: parts.index(pair.part))
    starts = dict(zip(parts, accumulate((columns[part] for part in parts), initial=0), strict=False))
    middles = [0, *accumulate(pair.rank for pair in pairs)]
    down = torch.cat([read(pair.a).float() for pair in pairs]).t().contiguous()
    made = [
        Part(
            slice(first, first + pair.rank),
            slice(starts[pair.part], starts[pair.part] + columns[pair.part]),
            (read(pair.b).float() * pair.scale).t().contiguous(),
        )
        for pair, first in zip(pairs, middles, strict=False)
    ]
    return Change(down, tuple(made))


__all__ = ["FUSED", "NO_ADAPTERS", "Adapter", "AdapterFiles", "Adapters", "Change", "load_adapter"]
