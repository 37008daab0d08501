"""Every mark the panes draw, in one place, as a Unicode set and as an ASCII set of the same meaning."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

GlyphChoice = Literal["unicode", "ascii"]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Marks by meaning; every mark is one cell wide, every sequence runs from empty to full."""

    name: GlyphChoice
    cursor: str
    changed: str
    ellipsis: str
    newline: str
    times: str
    arrow: str
    up: str
    down: str
    approximate: str
    cross: str
    between: str
    rule: str
    separator: str
    left_edge: str
    right_edge: str
    top_edge: str
    bottom_edge: str
    # horizontal bars: eighths of a cell; the track is what a bar leaves empty
    eighths: str
    track: str
    segment_end: str
    # vertical bars: eighths of a line
    levels: str
    # heatmap: text ramp where colour cannot carry the value
    ramp: str
    half_blocks: bool
    crosshair: str
    # blocks
    free: str
    cached: str
    owned: str
    shared: str
    freed_now: str
    cached_now: str
    owned_now: str
    shared_now: str
    sparse: str
    # steps
    prefill_step: str
    decode_step: str
    idle_step: str
    notable_step: str
    evicted_step: str
    preempted_step: str
    failed_step: str
    bookmarked_step: str
    stopped_step: str
    parted_step: str
    # lanes
    lane_waiting: str
    lane_cached: str
    lane_prefill: str
    lane_decode: str
    lane_preempted: str
    lane_ended: str
    # tree
    tree_trunk: str
    tree_branch: str
    tree_corner: str
    tree_closed: str
    tree_open: str
    tree_leaf: str
    # intervals
    interval_open: str
    interval_close: str
    interval_fill: str
    draw_mark: str
    # token text
    gutter_cached: str
    gutter_prompt: str
    gutter_output: str

    def characters(self) -> set[str]:
        """Every character the set can put on the screen."""
        texts = (getattr(self, field.name) for field in fields(self) if field.name != "name")
        return set("".join(text for text in texts if isinstance(text, str)))


UNICODE = Glyphs(
    name="unicode",
    cursor="▶",
    changed="●",
    ellipsis="…",
    newline="⏎",
    times="×",
    arrow="→",
    up="▲",
    down="▼",
    approximate="≈",
    cross="✗",
    between="·",
    rule="─",
    separator="│",
    left_edge="▐",
    right_edge="▌",
    top_edge="▄",
    bottom_edge="▀",
    eighths=" ▏▎▍▌▋▊▉█",
    track="░",
    segment_end="▌",
    levels=" ▁▂▃▄▅▆▇█",
    ramp=" .:-=+*#%@",
    half_blocks=True,
    crosshair="◆",
    free="·",
    cached="▒",
    owned="■",
    shared="◆",
    freed_now="○",
    cached_now="▓",
    owned_now="▣",
    shared_now="◈",
    sparse="░",
    prefill_step="▪",
    decode_step="·",
    idle_step=" ",
    notable_step="▲",
    evicted_step="E",
    preempted_step="P",
    failed_step="F",
    bookmarked_step="◆",
    stopped_step="■",
    parted_step="┬",
    lane_waiting="░",
    lane_cached="▒",
    lane_prefill="▓",
    lane_decode="▇",
    lane_preempted="✂",
    lane_ended="·",
    tree_trunk="│ ",
    tree_branch="├─",
    tree_corner="└─",
    tree_closed="▸",
    tree_open="▾",
    tree_leaf="╴",
    interval_open="├",
    interval_close="┤",
    interval_fill="─",
    draw_mark="▼",
    gutter_cached="▌",
    gutter_prompt="│",
    gutter_output="▏",
)

ASCII = Glyphs(
    name="ascii",
    cursor=">",
    changed="*",
    ellipsis="~",
    newline="$",
    times="x",
    arrow=">",
    up="^",
    down="v",
    approximate="~",
    cross="x",
    between="|",
    rule="-",
    separator="|",
    left_edge="[",
    right_edge="]",
    top_edge="-",
    bottom_edge="-",
    eighths=" =",
    track=".",
    segment_end="|",
    levels=" _.-=#",
    ramp=" .:-=+*#%@",
    half_blocks=False,
    crosshair="X",
    free=".",
    cached="c",
    owned="#",
    shared="%",
    freed_now="o",
    cached_now="C",
    owned_now="@",
    shared_now="&",
    sparse=":",
    prefill_step="#",
    decode_step=".",
    idle_step=" ",
    notable_step="^",
    evicted_step="E",
    preempted_step="P",
    failed_step="F",
    bookmarked_step="@",
    stopped_step="!",
    parted_step="Y",
    lane_waiting=".",
    lane_cached="c",
    lane_prefill="=",
    lane_decode="#",
    lane_preempted="X",
    lane_ended=" ",
    tree_trunk="| ",
    tree_branch="|-",
    tree_corner="`-",
    tree_closed="+",
    tree_open="-",
    tree_leaf="-",
    interval_open="[",
    interval_close="]",
    interval_fill="-",
    draw_mark="v",
    gutter_cached="=",
    gutter_prompt="|",
    gutter_output=">",
)


def glyphs_named(choice: GlyphChoice) -> Glyphs:
    """Return the set a user asked for with `--glyphs`."""
    return ASCII if choice == "ascii" else UNICODE
