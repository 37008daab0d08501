"""Which panes about quantization there is room for, and what takes turns where there is none."""

from __future__ import annotations

from typing import Literal

from textual.geometry import Size

Face = Literal["quantization", "weights", "text"]

WIDE, TALL, ROOMY = 110, 26, 42
PANES: dict[Face, tuple[str, ...]] = {
    "quantization": ("methods", "layers", "grid", "text", "course", "flips"),
    "weights": ("methods", "layers", "tensors", "grid", "text", "outliers"),
    "text": ("methods", "text", "course", "flips"),
}
EVERYTHING = tuple(dict.fromkeys(pane for panes in PANES.values() for pane in panes))
NARROW: dict[Face, tuple[str, ...]] = {
    "quantization": ("methods", "layers"),
    "weights": ("tensors", "grid", "outliers"),
    "text": ("text", "course", "flips"),
}
LEFT = ("layers", "tensors", "grid")
RIGHT = ("text", "course", "flips", "outliers")


def is_narrow(size: Size) -> bool:
    return size.width < WIDE or size.height < TALL


def faces(size: Size) -> tuple[Face, ...]:
    """What takes turns in a view of this size."""
    if is_narrow(size):
        return ("quantization", "text", "weights")
    return ("quantization",) if size.height >= ROOMY else ("quantization", "weights")


def shown(size: Size, face: Face) -> tuple[str, ...]:
    """The panes on the screen, by the end of their ids."""
    if is_narrow(size):
        return NARROW[face]
    return EVERYTHING if size.height >= ROOMY else PANES[face]


__all__ = ["EVERYTHING", "LEFT", "RIGHT", "Face", "faces", "is_narrow", "shown"]
