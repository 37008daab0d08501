"""The Workbench themes: one dark, one light, and the colours any other theme falls back to.

Every meaning a pane can colour has a theme variable of the same name, so a user's theme may set any of them.
"""

from __future__ import annotations

from textual.theme import Theme

DARK_COLOURS = {
    "ink-dim": "#8b95a7",
    "ink-faint": "#4a5366",
    "ink-strong": "#f2f5fa",
    "ink-accent": "#7cc4ff",
    "ink-good": "#8bd49c",
    "ink-warn": "#f5c26b",
    "ink-bad": "#ff7b86",
    "cursor-foreground": "#f6f8fc",
    "cursor-background": "#2c4a73",
    "cursor-blurred": "#252f40",
    "crosshair": "#f6f8fc",
    "changed": "#ffd866",
    "changed-background": "#3d3620",
    "lit-background": "#233448",
    "kv-free": "#5a6478",
    "kv-owned": "#5b9fe3",
    "kv-shared": "#cf93ee",
    "kv-cached": "#79b389",
    "cached-prefix": "#86c294",
    "prefill": "#e8a060",
    "decode": "#4fb0a1",
    "waiting": "#7d879b",
    "preempted": "#ff7b86",
    "evicted": "#e69ac4",
    "live": "#7ee08f",
    "past": "#ffb95e",
    "shade-low": "#151922",
    "shade-high": "#a4431f",
}

LIGHT_COLOURS = {
    "ink-dim": "#5c6676",
    "ink-faint": "#aeb6c2",
    "ink-strong": "#10151d",
    "ink-accent": "#0b63b8",
    "ink-good": "#1f7a3d",
    "ink-warn": "#925a00",
    "ink-bad": "#c0283c",
    "cursor-foreground": "#0c1116",
    "cursor-background": "#b9d8fb",
    "cursor-blurred": "#dde5ee",
    "crosshair": "#0c1116",
    "changed": "#8a5a00",
    "changed-background": "#fbedc4",
    "lit-background": "#dcebfa",
    "kv-free": "#8a94a3",
    "kv-owned": "#1668b5",
    "kv-shared": "#8436b3",
    "kv-cached": "#2b7f45",
    "cached-prefix": "#2b7f45",
    "prefill": "#b1560c",
    "decode": "#0d7a70",
    "waiting": "#6a7483",
    "preempted": "#c0283c",
    "evicted": "#a12f75",
    "live": "#1b7f3a",
    "past": "#a55a00",
    "shade-low": "#fbfaf7",
    "shade-high": "#f08a4b",
}

ANSI_DARK_COLOURS = {
    "ink-dim": "ansi_bright_black",
    "ink-faint": "ansi_bright_black",
    "ink-strong": "ansi_default",
    "ink-accent": "ansi_bright_blue",
    "ink-good": "ansi_bright_green",
    "ink-warn": "ansi_bright_yellow",
    "ink-bad": "ansi_bright_red",
    "cursor-foreground": "ansi_default",
    "cursor-background": "ansi_default",
    "cursor-blurred": "ansi_default",
    "crosshair": "ansi_default",
    "changed": "ansi_bright_yellow",
    "changed-background": "ansi_default",
    "lit-background": "ansi_default",
    "kv-free": "ansi_bright_black",
    "kv-owned": "ansi_bright_blue",
    "kv-shared": "ansi_bright_magenta",
    "kv-cached": "ansi_bright_green",
    "cached-prefix": "ansi_bright_green",
    "prefill": "ansi_bright_yellow",
    "decode": "ansi_bright_cyan",
    "waiting": "ansi_bright_black",
    "preempted": "ansi_bright_red",
    "evicted": "ansi_bright_magenta",
    "live": "ansi_bright_green",
    "past": "ansi_bright_yellow",
    "shade-low": "ansi_default",
    "shade-high": "ansi_default",
}

# On white, the bright colours are too pale; grey stays what it is.
ANSI_LIGHT_COLOURS = {
    name: value if value == "ansi_bright_black" else value.replace("bright_", "")
    for name, value in ANSI_DARK_COLOURS.items()
}

DARK = Theme(
    name="workbench-dark",
    primary="#7cc4ff",
    secondary="#5fc8b8",
    accent="#ffb95e",
    warning="#f5c26b",
    error="#ff7b86",
    success="#7ee08f",
    foreground="#d5dbe6",
    background="#10131a",
    surface="#151922",
    panel="#1d2330",
    dark=True,
    variables={
        "screen-selection-background": "#2f5688",
        "border": "#6089b8",
        "border-blurred": "#2c3445",
        "scrollbar": "#323c50",
        "scrollbar-hover": "#4a5873",
        "scrollbar-active": "#7cc4ff",
        "scrollbar-background": "#151922",
        "scrollbar-background-hover": "#151922",
        "scrollbar-background-active": "#151922",
        "scrollbar-corner-color": "#151922",
        "footer-key-foreground": "#ffb95e",
        **DARK_COLOURS,
    },
)

LIGHT = Theme(
    name="workbench-light",
    primary="#0b63b8",
    secondary="#0d7a70",
    accent="#a55a00",
    warning="#925a00",
    error="#c0283c",
    success="#1b7f3a",
    foreground="#252c36",
    background="#f1f0ec",
    surface="#fbfaf7",
    panel="#e8e7e2",
    dark=False,
    variables={
        "screen-selection-background": "#b9d8fb",
        "border": "#3f7fbf",
        "border-blurred": "#cfd3d8",
        "scrollbar": "#c3c8cf",
        "scrollbar-hover": "#9aa3b0",
        "scrollbar-active": "#0b63b8",
        "scrollbar-background": "#fbfaf7",
        "scrollbar-background-hover": "#fbfaf7",
        "scrollbar-background-active": "#fbfaf7",
        "scrollbar-corner-color": "#fbfaf7",
        "footer-key-foreground": "#a55a00",
        **LIGHT_COLOURS,
    },
)

THEMES = (DARK, LIGHT)


def colours_for(theme: Theme) -> dict[str, str]:
    """Return our variables for any theme: what `App.get_theme_variable_defaults` should answer."""
    if theme.ansi:
        return ANSI_DARK_COLOURS if theme.dark else ANSI_LIGHT_COLOURS
    return DARK_COLOURS if theme.dark else LIGHT_COLOURS
