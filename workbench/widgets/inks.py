"""Inks: the meanings a piece of text can have, each with the style the current theme gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from workbench.widgets.glyphs import Glyphs

Ink = Literal[
    "text", "dim", "faint", "strong", "accent", "good", "warn", "bad", "removed", "header", "title", "key",
    "cursor", "cursor-blurred", "changed", "changed-row", "lit", "selected-mark", "crosshair",
    "kv-free", "kv-owned", "kv-shared", "kv-cached", "cached-prefix",
    "prefill", "decode", "waiting", "cached", "preempted", "evicted", "failed", "finished",
    "live", "past", "observed", "recomputed", "approximate",
]  # fmt: skip


class InkSpec(NamedTuple):
    """Which theme variables colour an ink, and the attributes that tell it apart without colour."""

    colour: str = ""
    background: str = ""
    attributes: str = ""
    without_colour: str = ""


SPECS: dict[Ink, InkSpec] = {
    "text": InkSpec(),
    "dim": InkSpec("ink-dim"),
    "faint": InkSpec("ink-faint"),
    "strong": InkSpec("ink-strong", attributes="bold"),
    "accent": InkSpec("ink-accent"),
    "good": InkSpec("ink-good"),
    "warn": InkSpec("ink-warn"),
    "bad": InkSpec("ink-bad"),
    "removed": InkSpec("ink-dim", attributes="strike"),
    "header": InkSpec("ink-dim", without_colour="underline"),
    "title": InkSpec("ink-accent", attributes="bold"),
    "key": InkSpec("ink-warn", attributes="bold"),
    "cursor": InkSpec("cursor-foreground", "cursor-background", "bold", "reverse"),
    "cursor-blurred": InkSpec("", "cursor-blurred", without_colour="underline"),
    "changed": InkSpec("changed", attributes="bold", without_colour="underline"),
    "changed-row": InkSpec("", "changed-background"),
    "lit": InkSpec("ink-strong", "lit-background", "bold", "underline"),
    "selected-mark": InkSpec("ink-accent", attributes="bold"),
    "crosshair": InkSpec("crosshair", attributes="bold"),
    "kv-free": InkSpec("kv-free"),
    "kv-owned": InkSpec("kv-owned"),
    "kv-shared": InkSpec("kv-shared"),
    "kv-cached": InkSpec("kv-cached"),
    "cached-prefix": InkSpec("cached-prefix"),
    "prefill": InkSpec("prefill"),
    "decode": InkSpec("decode"),
    "waiting": InkSpec("waiting"),
    "cached": InkSpec("kv-cached"),
    "preempted": InkSpec("preempted", attributes="bold"),
    "evicted": InkSpec("evicted", attributes="bold"),
    "failed": InkSpec("ink-bad", attributes="bold reverse"),
    "finished": InkSpec("ink-dim"),
    "live": InkSpec("live", attributes="bold"),
    "past": InkSpec("past", attributes="bold"),
    "observed": InkSpec(),
    "recomputed": InkSpec("ink-accent"),
    "approximate": InkSpec("ink-warn"),
}


def resolve(variables: Mapping[str, str], *, colour: bool) -> dict[Ink, Style]:
    """Return each ink's style from theme variables; without colour, attributes take over."""
    return {ink: _style(spec, variables, colour) for ink, spec in SPECS.items()}


def _style(spec: InkSpec, variables: Mapping[str, str], colour: bool) -> Style:
    foreground = _colour(variables.get(spec.colour))
    background = _colour(variables.get(spec.background))
    plain = not colour or variables.get(spec.background) == "ansi_default"
    attributes = f"{spec.attributes} {spec.without_colour if plain else ''}".strip()
    style = Style(
        color=foreground.rich_color if foreground else None,
        bgcolor=background.rich_color if background else None,
    )
    return style + Style.parse(attributes) if attributes else style


@lru_cache(maxsize=256)
def _parse(value: str) -> Color:
    return Color.parse(value)


def _colour(value: str | None) -> Color | None:
    """Parse a colour; the terminal's own default counts as none, so that it never hides what is beneath."""
    return None if value in (None, "ansi_default") else _parse(str(value))


@dataclass(frozen=True, slots=True)
class Brush:
    """What drawing a line needs: styles by ink, the glyph set, and the style everything lies on."""

    inks: Mapping[Ink, Style]
    glyphs: Glyphs
    base: Style

    def style(self, ink: Ink) -> Style:
        """Return `ink` laid over the base."""
        return self.base + self.inks[ink]

    def segment(self, text: str, ink: Ink = "text") -> Segment:
        """Return `text` in `ink`."""
        return Segment(text, self.style(ink))

    def over(self, ink: Ink) -> Brush:
        """Return a brush whose base is this one's with `ink` laid over it."""
        return replace(self, base=self.style(ink))
