"""Glyph sets, themes, inks and ramps: readable without colour, in ASCII, on dark and on light."""

from __future__ import annotations

from itertools import pairwise

import pytest
from rich.cells import cell_len
from rich.color import Color
from textual.theme import BUILTIN_THEMES

from workbench.widgets import blockmap, gantt, timeline
from workbench.widgets.glyphs import ASCII, UNICODE, Glyphs
from workbench.widgets.inks import SPECS, resolve
from workbench.widgets.palette import (
    ANSI_DARK_COLOURS,
    ANSI_LIGHT_COLOURS,
    DARK,
    DARK_COLOURS,
    LIGHT,
    LIGHT_COLOURS,
    colours_for,
)
from workbench.widgets.ramp import DARK_HEAT, LEVELS, LIGHT_HEAT, RGB, contrast, interpolate, luminance

SETS = [pytest.param(UNICODE, id="unicode"), pytest.param(ASCII, id="ascii")]


def rgb(colour: str) -> RGB:
    red, green, blue = Color.parse(colour).get_truecolor()
    return red, green, blue


def test_the_ascii_set_is_ascii() -> None:
    assert all(character.isascii() and character.isprintable() for character in ASCII.characters())


def test_the_unicode_set_uses_no_braille() -> None:
    assert not [character for character in UNICODE.characters() if 0x2800 <= ord(character) <= 0x28FF]


@pytest.mark.parametrize("glyphs", SETS)
def test_every_mark_is_one_cell(glyphs: Glyphs) -> None:
    assert all(cell_len(character) == 1 for character in glyphs.characters())


@pytest.mark.parametrize("glyphs", SETS)
def test_states_and_phases_and_steps_are_told_apart_without_colour(glyphs: Glyphs) -> None:
    blocks = [mark for look in blockmap.looks(glyphs).values() for mark in (look.mark, look.mark_changed)]
    phases = [look.mark for look in gantt.looks(glyphs).values()]
    steps = [timeline.mark_span(mark, glyphs).text for mark in timeline.StepMark]
    for marks in (blocks, phases, steps):
        assert len(set(marks)) == len(marks)


@pytest.mark.parametrize("colours", [DARK_COLOURS, LIGHT_COLOURS, ANSI_DARK_COLOURS, ANSI_LIGHT_COLOURS])
def test_every_ink_has_its_colours_in_every_palette(colours: dict[str, str]) -> None:
    wanted = {name for spec in SPECS.values() for name in (spec.colour, spec.background) if name}
    assert wanted <= colours.keys()


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
def test_text_inks_can_be_read_on_every_ground_they_stand_on(theme: object) -> None:
    assert theme in (DARK, LIGHT)
    chosen = DARK if theme is DARK else LIGHT
    colours = colours_for(chosen)
    faint = {"ink-faint", "kv-free"}
    for ink, spec in SPECS.items():
        if not spec.colour or spec.colour in faint or ink in ("cursor", "crosshair"):
            continue
        ratio = contrast(rgb(colours[spec.colour]), rgb(chosen.surface or ""))
        assert ratio >= 4.5, (ink, ratio)
    for ground in ("cursor-background", "cursor-blurred", "lit-background", "changed-background"):
        assert contrast(rgb(chosen.foreground or ""), rgb(colours[ground])) >= 4.5, ground


@pytest.mark.parametrize("points", [DARK_HEAT, LIGHT_HEAT], ids=["dark", "light"])
def test_heat_changes_lightness_steadily_so_that_it_survives_grey(points: tuple[RGB, ...]) -> None:
    lightness = [luminance(colour) for colour in interpolate(points, LEVELS)]
    if points is LIGHT_HEAT:
        lightness.reverse()
    assert all(before < after for before, after in pairwise(lightness))


@pytest.mark.parametrize("name", sorted(BUILTIN_THEMES))
def test_every_built_in_theme_gets_all_inks(name: str) -> None:
    theme = BUILTIN_THEMES[name]
    inks = resolve(colours_for(theme), colour=True)
    assert set(inks) == set(SPECS)


def test_without_colour_the_cursor_and_changes_are_still_marked() -> None:
    inks = resolve(DARK_COLOURS, colour=False)
    assert inks["cursor"].reverse
    assert inks["changed"].underline
    assert resolve(ANSI_DARK_COLOURS, colour=True)["cursor"].reverse
