"""Which panes of the Layers view there is room for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from textual.geometry import Size

Face = Literal["stages", "source", "lens", "logit"]
FACES: tuple[Face, ...] = ("stages", "source", "lens", "logit")

WIDE = 110  # below, the faces take turns
TALL = 30  # below, what is beside the stages is about them alone, or about the logit
ROOMY = 32  # below, the norms by layer have no chart
LEFT = ("layers-stages", "layers-lens", "layers-course")
RIGHT = ("layers-values", "layers-source", "layers-parts", "layers-heads")


@dataclass(frozen=True, slots=True)
class There:
    """What there is to show."""

    stages: bool = False
    values: bool = False
    source: bool = False
    lens: bool = False
    norms: bool = False


def shown(there: There, size: Size, face: Face) -> dict[str, bool]:
    """Whether each pane is on the screen, by its CSS id."""
    stages = {"layers-stages": True, "layers-values": there.values, "layers-source": there.source}
    lens = {"layers-lens": True, "layers-course": there.norms}
    logit = {"layers-parts": there.lens, "layers-heads": there.lens}
    if size.width < WIDE:
        return _narrow(stages, lens, logit, face)
    if size.height < TALL:
        return _short(stages, lens, logit, face)
    lens["layers-course"] = there.norms and size.height >= ROOMY
    return stages | lens | logit


def _narrow(
    stages: dict[str, bool], lens: dict[str, bool], logit: dict[str, bool], face: Face
) -> dict[str, bool]:
    """What a face is about stands there even when it has nothing to show: it says why."""
    del stages["layers-source"]
    source = {"layers-source": True}
    logit["layers-parts"] = True
    every = {"stages": stages, "source": source, "lens": lens, "logit": logit}
    return {pane: on and face == name for name, panes in every.items() for pane, on in panes.items()}


def _short(stages: dict[str, bool], lens: dict[str, bool], logit: dict[str, bool], face: Face) -> dict[str, bool]:
    """Wide and low: the stages with their values and source, or the lens with the parts of the logit."""
    of_stages = face == "stages"
    turned = {pane: on and of_stages for pane, on in stages.items()}
    return turned | {pane: on and not of_stages for pane, on in (lens | logit).items()}


def faces(size: Size) -> tuple[Face, ...]:
    """What takes turns in a window of this size."""
    if size.width < WIDE:
        return FACES
    return ("stages", "lens") if size.height < TALL else ("stages",)


def left_out(there: There, size: Size, face: Face) -> list[str]:
    """What a larger window would show too, and the key that shows it in this one."""
    turns = faces(size)
    if len(turns) == 1:
        return ["the norms"] if there.norms and size.height < ROOMY else []
    names = {"stages": there.stages, "source": there.source, "lens": there.lens, "logit": there.lens}
    missing = [f"the {name}" for name in turns if name != face and names[name]]
    return [*missing[:-1], f"{missing[-1]} (m turns to it)"] if missing else []


__all__ = ["FACES", "LEFT", "RIGHT", "Face", "There", "faces", "left_out", "shown"]
