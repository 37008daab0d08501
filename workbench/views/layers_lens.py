"""What each layer would say and who said how much: a looked-at row's arrays, as tables and a chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from engine.protocol import LayersSeen
from workbench.views.layers_numbers import number, signed
from workbench.widgets.cells import cut
from workbench.widgets.columns import Column
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Bar, Line, Span

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

TokenText = Callable[[int], str]
MOST_CELLS = 12
"""Of a token's text where several share a line."""
TRACE = 5e-4
"""Shares below are written as nothing."""


@dataclass(frozen=True)
class Lens:
    """A looked-at row by depth: 0 is after the embedding, `n` after layer `n - 1`."""

    found: LayersSeen

    @property
    def depths(self) -> int:
        return self.found.layers + 1

    @cached_property
    def ids(self) -> Any:
        """[depths, top]"""
        return _ints(self.found.lens_ids).reshape(self.depths, self.found.top)

    @cached_property
    def probs(self) -> Any:
        """[depths, top]"""
        return _floats(self.found.lens_probs).reshape(self.depths, self.found.top)

    @cached_property
    def rank(self) -> Any:
        return _ints(self.found.rank)

    @cached_property
    def prob(self) -> Floats:
        return _floats(self.found.prob)

    @cached_property
    def kl(self) -> Floats:
        return _floats(self.found.kl)

    @cached_property
    def norm(self) -> Floats:
        return _floats(self.found.resid_norm)

    @cached_property
    def attn(self) -> Floats:
        """[layers]"""
        return _floats(self.found.attn)

    @cached_property
    def mlp(self) -> Floats:
        """[layers]"""
        return _floats(self.found.mlp)

    @cached_property
    def heads(self) -> Floats:
        """[layers, heads]"""
        heads: Floats = _floats(self.found.heads).reshape(self.found.layers, self.found.n_heads)
        return heads

    @property
    def total(self) -> float:
        """What the parts add up to."""
        return self.found.logit - self.found.remainder

    @cached_property
    def largest(self) -> float:
        """The largest share of all parts: a full bar."""
        parts = [abs(self.found.embed), float(abs(self.attn).max()), float(abs(self.mlp).max())]
        return max(parts) or 1.0


def depth_name(depth: int) -> str:
    """What the residual stream has behind it."""
    return str(depth - 1) if depth else "embed"


class LensRows:
    """The lens, one depth a row."""

    columns: Sequence[Column] = (
        Column("after", 5, "right"),
        Column("rank", 6, "right"),
        Column("prob", 6, "right"),
        Column("KL", 7, "right", 1),
        Column("norm", 8, "right", 2),
        Column("likeliest", least=16),
    )

    def __init__(self, lens: Lens, text: TokenText) -> None:
        self._lens = lens
        self._text = text

    def __len__(self) -> int:
        return self._lens.depths

    def row(self, index: int) -> Sequence[Line]:
        lens = self._lens
        rank = int(lens.rank[index])
        return (
            Span(depth_name(index), "dim"),
            Span(f"{rank:,}", "strong" if rank == 1 else "text"),
            f"{lens.prob[index]:.3f}",
            f"{lens.kl[index]:.3f}",
            number(float(lens.norm[index])),
            self._likeliest(index),
        )

    def changed(self, index: int) -> bool:  # noqa: ARG002
        return False

    def _likeliest(self, index: int) -> Line:
        line: list[Span] = []
        for token, prob in zip(self._lens.ids[index].tolist(), self._lens.probs[index].tolist(), strict=True):
            ink: Ink = "accent" if token == self._lens.found.token else "text"
            line += [Span(f"'{cut(self._text(token), MOST_CELLS)}'", ink), Span(f" {prob:.2f}  ", "dim")]
        return line


class PartRows:
    """The parts of the logit: the embedding, each layer's attention and MLP, and what they add up to.

    The rest is what rounding leaves between their sum and the logit.
    """

    columns: Sequence[Column] = (
        Column("layer", 5),
        Column("attn", 7, "right"),
        Column("", least=2, priority=1),
        Column("MLP", 7, "right"),
        Column("", least=2, priority=1),
    )
    ENDS = ("sum", "rest", "logit")

    def __init__(self, lens: Lens) -> None:
        self._lens = lens

    def __len__(self) -> int:
        return self._lens.depths + len(self.ENDS)

    def row(self, index: int) -> Sequence[Line]:
        lens, found = self._lens, self._lens.found
        if index == 0:
            return (Span("embed", "dim"), *self._share(found.embed), "", "")
        if index < lens.depths:
            attn, mlp = float(lens.attn[index - 1]), float(lens.mlp[index - 1])
            return (Span(str(index - 1), "dim"), *self._share(attn), *self._share(mlp))
        name = self.ENDS[index - lens.depths]
        value = {"sum": f"{lens.total:+.5g}", "rest": f"{found.remainder:+.0e}"}
        logit = f"{found.logit:+.5g}"
        return (Span(name, "strong" if name == "logit" else "dim"), value.get(name, logit), "", "", "")

    def changed(self, index: int) -> bool:  # noqa: ARG002
        return False

    def _share(self, value: float) -> Sequence[Line]:
        return share_cells(value, self._lens.largest)


class HeadRows:
    """The heads' shares of one layer's attention."""

    columns: Sequence[Column] = (Column("head", 4), Column("share", 7, "right"), Column("", least=2))

    def __init__(self, lens: Lens, layer: int) -> None:
        self._shares = lens.heads[layer].tolist()
        self._rest = float(lens.attn[layer]) - sum(self._shares)
        self._full = max(map(abs, self._shares)) or 1.0

    def __len__(self) -> int:
        return len(self._shares) + int(abs(self._rest) > TRACE)

    def row(self, index: int) -> Sequence[Line]:
        if index == len(self._shares):
            return (Span("rest", "dim"), *share_cells(self._rest, self._full))
        return (Span(str(index), "dim"), *share_cells(self._shares[index], self._full))

    def changed(self, index: int) -> bool:  # noqa: ARG002
        return False


def share_cells(value: float, full: float) -> tuple[str, Bar]:
    """A share with its sign, and a bar of its size."""
    return signed(value), Bar(abs(value) / full, "good" if value >= 0 else "bad")


class DepthSeries:
    """A number of every depth, as a chart."""

    def __init__(self, name: str, ink: Ink, values: Floats, limit: float = 0.0) -> None:
        self.name = name
        self.ink: Ink = ink
        self.limit = limit
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def values(self, start: int, stop: int) -> Sequence[float]:
        return [float(value) for value in self._values[start:stop]]

    def written(self, value: float) -> str:
        if value != value:
            return "–"
        text = f"{value:.3g}"
        return text if len(text) < 8 else f"{value:.1g}"


def captured_series(norms: dict[int, float], layers: int) -> Sequence[DepthSeries]:
    """The norm of the residual stream after the layers where it was captured."""
    import numpy as np

    values = np.full(layers + 1, np.nan, np.float32)
    for layer, norm in norms.items():
        values[layer + 1] = norm
    return (DepthSeries("norm", "accent", values),)


def series_of(lens: Lens) -> Sequence[DepthSeries]:
    """The norm of the residual stream, how far a depth is from the end, and how likely it makes the token."""
    return (
        DepthSeries("norm", "accent", lens.norm),
        DepthSeries("KL", "prefill", lens.kl),
        DepthSeries("p", "decode", lens.prob, 1.0),
    )


def _floats(data: bytes) -> Floats:
    import numpy as np

    found: Floats = np.frombuffer(data, "<f4")
    return found


def _ints(data: bytes) -> Any:
    import numpy as np

    return np.frombuffer(data, "<i4")


__all__ = [
    "DepthSeries",
    "HeadRows",
    "Lens",
    "LensRows",
    "PartRows",
    "captured_series",
    "depth_name",
    "series_of",
]
