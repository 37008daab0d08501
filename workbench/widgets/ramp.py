"""Colour ramps of 64 levels whose lightness rises or falls steadily, so that they survive grey."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from rich.color import Color
from rich.style import Style

LEVELS = 64

RGB = tuple[int, int, int]

# Control points, evenly spaced. Heat runs from the dark surface through violet and ember to pale yellow; its
# light twin starts at paper and ends in deep violet.
DARK_HEAT: tuple[RGB, ...] = (
    (18, 21, 31),
    (52, 24, 92),
    (120, 34, 110),
    (192, 60, 82),
    (240, 122, 46),
    (252, 190, 70),
    (253, 247, 190),
)
LIGHT_HEAT: tuple[RGB, ...] = (
    (250, 249, 245),
    (253, 224, 170),
    (248, 170, 110),
    (222, 106, 96),
    (164, 54, 110),
    (96, 26, 108),
    (34, 10, 62),
)


def interpolate(points: Sequence[RGB], levels: int) -> list[RGB]:
    """Return `levels` colours along the straight lines between evenly spaced control points."""
    return [_at(points, level * (len(points) - 1) / (levels - 1)) for level in range(levels)]


def _at(points: Sequence[RGB], position: float) -> RGB:
    index = min(int(position), len(points) - 2)
    share = position - index
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(points[index], points[index + 1], strict=True))
    return red, green, blue


def luminance(colour: RGB) -> float:
    """Return the relative luminance of an sRGB colour, 0 to 1 (WCAG 2.2)."""
    red, green, blue = (_linear(channel / 255) for channel in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def contrast(a: RGB, b: RGB) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@lru_cache(maxsize=2)
def heat(dark: bool) -> tuple[Color, ...]:
    """Return the heat ramp for a dark or a light screen."""
    return tuple(Color.from_rgb(*rgb) for rgb in interpolate(DARK_HEAT if dark else LIGHT_HEAT, LEVELS))


@lru_cache(maxsize=2 * LEVELS * LEVELS)
def pair_style(dark: bool, top: int, bottom: int) -> Style:
    """Return the style of an upper half block showing level `top` over level `bottom`."""
    ramp = heat(dark)
    return Style(color=ramp[top], bgcolor=ramp[bottom])


@lru_cache(maxsize=2 * LEVELS)
def cell_style(dark: bool, level: int) -> Style:
    """Return the style of a whole cell at `level`, with a text colour that can be read on it."""
    background = interpolate(DARK_HEAT if dark else LIGHT_HEAT, LEVELS)[level]
    readable = max(((16, 18, 24), (250, 250, 250)), key=lambda colour: contrast(colour, background))
    return Style(color=Color.from_rgb(*readable), bgcolor=Color.from_rgb(*background))


@lru_cache(maxsize=16)
def blend(low: RGB, high: RGB, levels: int) -> tuple[Color, ...]:
    """Return `levels` colours from `low` to `high`."""
    return tuple(Color.from_rgb(*rgb) for rgb in interpolate((low, high), levels))
