"""What the lines around a view say: the run in numbers, the tabs, the selection and the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.debug.said import Stop, sentence
from workbench.oneline import Item
from workbench.source import Live, Source
from workbench.widgets.cells import cell_len
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Bar, Line, Span

if TYPE_CHECKING:
    from engine.state import State
    from workbench.action_book import Entry
    from workbench.added import AddedView
    from workbench.bench import EngineStatus, Scene
    from workbench.record import Record
    from workbench.views.registry import ViewSpec

SPEED_STEPS = 32
TAB_GAP = 2
STAYING = ("help", "quit")
_STATES: dict[str, tuple[str, Ink]] = {
    "none": ("recording", "dim"),
    "loading": ("loading", "warn"),
    "looking": ("model loaded", "accent"),
    "paused": ("paused", "accent"),
    "running": ("running", "live"),
    "failed": ("step failed", "failed"),
    "gone": ("engine gone", "failed"),
}


def header_items(scene: Scene) -> list[Item]:
    """Model, step, queues, KV, hits, speed, and what the engine does."""
    moment, glyphs, about = scene.moment, scene.glyphs, scene.record.about
    return [
        Item(Span("workbench", "title"), 8),
        Item([Span(about.model_name, "strong"), Span(f" {short_dtype(about.dtype)} {about.device}", "dim")], 5),
        Item(_time(scene)),
        *([Item([Span("branch ", "dim"), _branch(scene)])] if scene.branches.several else []),
        Item(_queues(moment.state), 2),
        Item(_kv(moment.state, glyphs), 3),
        *([Item(Span(f"{about.kv_policy}: output may differ", "warn"), 1)] if about.kv_policy else []),
        Item([Span("hit ", "dim"), _hit_rate(moment.state)], 6),
        Item([Span(_speed(scene), "text"), Span(" tok/s", "dim")], 7),
        *([Item(Span(f"{glyphs.changed} rec", "bad"), 9, right=True)] if scene.engine.records else []),
        Item(engine_word(scene.engine, glyphs), 1 if scene.engine.stop is not None else 4, right=True),
    ]


def opening_items(source: Source, engine: EngineStatus, glyphs: Glyphs) -> list[Item]:
    """The header while there is nothing to show yet."""
    name = source.model.name if isinstance(source, Live) else source.session.name
    word = engine_word(engine, glyphs) if engine.state != "none" else Span("opening", "dim")
    return [Item(Span("workbench", "title")), Item(Span(name, "strong")), Item(word, right=True)]


def hint(engine: EngineStatus, scene: Scene | None, width: int) -> str:
    """One line that says what to press, when there is nothing else to say."""
    if scene is None:
        return "the model is loading; q quits"
    if engine.state == "gone":
        return f"the engine is gone: {engine.text}"
    if not scene.moment.live:
        return _past_hint(engine, scene)
    if engine.state == "looking":
        return "a recording, its model loaded: n c p F go on from here in a copy, [ ] move a step"
    if engine.state == "none":
        return "a recording: [ ] move a step, { } to what is notable, g to a step, ? help"
    if engine.stop is not None:
        return stop_line(engine.stop, width)
    if engine.inside is not None:
        inside = engine.inside
        return f"inside step {inside.step}, {inside.where}: s stage, N layer, f finish, X abandon, c go on"
    if scene.moment.step == 0 and engine.state == "paused":
        return "paused at step 0: n takes a step, c runs, p submits a prompt, ? help"
    if engine.text == "idle" and not scene.moment.state.requests:
        return "every request has ended: p submits a prompt, [ goes back in time"
    return ""


def _past_hint(engine: EngineStatus, scene: Scene) -> str:
    """The past can be gone on from where there is an engine; other branches end for good."""
    newest = scene.branches.newest
    if scene.moment.branch != newest:
        where = f"branch {scene.moment.branch}, which was left"
        return f"{where}: R goes on from here, B another branch, G to branch {newest}, which goes on"
    if engine.records:
        return (
            "the past: n goes over what was recorded, R goes on from here differently, G back to the newest step"
        )
    return "the past: [ ] move a step, { } to what is notable, G back to the newest step"


def engine_word(engine: EngineStatus, glyphs: Glyphs) -> Line:
    """`● paused`, with a mark that tells states apart without colour."""
    if engine.stop is not None and engine.state != "running":
        return [Span(f"{glyphs.stopped_step} {stop_words(engine.stop)}", "bad")]
    if engine.inside is not None and engine.state != "running":
        return [Span(f"{glyphs.changed} inside step {engine.inside.step}", "accent")]
    word, ink = _STATES[engine.state]
    mark = {"running": glyphs.cursor, "failed": "!", "gone": "!", "none": glyphs.free}.get(
        engine.state, glyphs.changed
    )
    return [Span(f"{mark} {word}", ink)]


def stop_words(stop: Stop) -> str:
    """What has halted the engine and where, briefly: `breakpoint 2: step 42 planned, not run`."""
    kind = {"break": "breakpoint", "watch": "watchpoint", "catch": "catchpoint"}.get(stop.why, stop.why)
    point = f" {stop.point}" if stop.point else ""
    match stop.when:
        case "planned":
            return f"{kind}{point}: step {stop.step} planned, not run"
        case "inside":
            return f"{kind}{point}: step {stop.step} in {place_words(stop.layer, stop.stage)}"
        case "failed":
            return f"{kind}{point}: step {stop.step} failed"
        case _:
            return f"{kind}{point}: after step {stop.step}"


def stop_line(stop: Stop, width: int) -> str:
    """Where, why and with which values the engine was halted; in little room the header has to say where."""
    whole = sentence(stop)
    head, colon, why = whole.partition(": ")
    return whole if cell_len(whole) + 2 <= width or not colon else f"{head.partition(',')[0]}: {why}"


def place_words(layer: int | None, stage: str | None) -> str:
    """A place in the forward pass in words: `layer 5 attn_out`."""
    return f"layer {layer} {stage}" if layer is not None and layer >= 0 else f"{stage}"


def short_dtype(dtype: str) -> str:
    """`fp32` for `float32`."""
    return dtype.replace("bfloat", "bf").replace("float", "fp")


def _time(scene: Scene) -> Line:
    ink: Ink = "live" if scene.moment.live else "past"
    return [Span("step ", "dim"), Span(f"{scene.moment.step:,}", ink)]


def _branch(scene: Scene) -> Span:
    return Span(str(scene.moment.branch), "live" if scene.moment.branch == scene.branches.newest else "past")


def _queues(state: State) -> Line:
    preempted = sum(state.requests[id_].state == "PREEMPTED" for _, id_ in state.waiting)
    waiting = len(state.waiting) - preempted
    counts: Sequence[tuple[int, str, Ink]] = (
        (len(state.running), "running", "decode"), (waiting, "waiting", "waiting"),
        (preempted, "preempted", "preempted"),
    )  # fmt: skip
    line: list[Span] = []
    for count, name, ink in counts:
        line += [Span(" " if line else ""), Span(str(count), ink if count else "dim"), Span(f" {name}", "dim")]
    return line


def _kv(state: State, glyphs: Glyphs) -> Line:
    blocks = state.blocks
    used = blocks.owned / blocks.num_blocks
    return [
        Span("KV ", "dim"),
        Span(f"{used:>4.0%} "),
        Bar(used, "warn" if used > 0.9 else "kv-owned", 6),
        Span(glyphs.separator, "faint"),
    ]


def _hit_rate(state: State) -> Span:
    totals = state.totals
    if not totals.looked_up_tokens:
        return Span("–", "dim")
    return Span(f"{totals.hit_tokens / totals.looked_up_tokens:.0%}")


def _speed(scene: Scene) -> str:
    if scene.engine.state == "running" and scene.engine.tokens_per_s and scene.moment.live:
        return f"{scene.engine.tokens_per_s:,.0f}"
    speed = recorded_speed(scene.record, scene.moment.step)
    return "–" if speed is None else f"{speed:,.0f}"


def recorded_speed(record: Record, step: int) -> float | None:
    """Output tokens per second of compute over the latest steps up to `step`."""
    rows = record.step_rows(max(0, step - SPEED_STEPS), step + 1)
    before = 0 if not rows or rows[0].step == 1 else rows[0].output_tokens
    counted = rows if rows and rows[0].step == 1 else rows[1:]
    busy_s = sum(row.total_ns for row in counted) / 1e9
    return (counted[-1].output_tokens - before) / busy_s if busy_s else None


def tab_items(views: Sequence[ViewSpec | AddedView], open_name: str, width: int) -> list[Item]:
    """One tab for each view; only the open one has its name where `width` has no room for all."""
    titles = [f"{view.key} {view.title}".strip() for view in views]
    short = sum(map(len, titles)) + TAB_GAP * (len(titles) - 1) + 2 > width
    items = []
    for view, title in zip(views, titles, strict=True):
        here = view.name == open_name
        name = title if here or not short else view.key or title[:1]
        keys = len(view.key)
        line: Line = [Span(name, "title")] if here else [Span(name[:keys], "key"), Span(name[keys:], "dim")]
        items.append(Item(line, action=f"view.{view.name}"))
    return items


def selection_items(scene: Scene, dropped: Sequence[str]) -> list[Item]:
    """What is selected, part by part; on the right, which panes there is no room for."""
    left_out = [Item(Span(f"no room for {', '.join(dropped)}", "warn"), 3, right=True)] if dropped else []
    return [*_selected(scene), *left_out]


def _selected(scene: Scene) -> list[Item]:
    chosen, record = scene.selection, scene.record
    if chosen.request is None:
        return [Item(Span("nothing selected", "dim"))]
    items = [_part("request", chosen.request)]
    if chosen.position is not None:
        ids = record.token_ids(chosen.request)
        text = f" '{record.token_text(ids[chosen.position])}'" if chosen.position < len(ids) else ""
        items.append(_part("token", f"{chosen.position}{text}"))
        items.append(Item([Span(f"({chosen.row_name})", "dim")], 3))
        items.append(_part("layer", f"{chosen.layer} head {chosen.head}", 4))
    if chosen.step is not None:
        items.append(_part("step", str(chosen.step), 2))
    if chosen.block is not None:
        items.append(_part("block", str(chosen.block), 1))
    if chosen.node is not None:
        items.append(_part("node", str(chosen.node), 5))
    return items


def _part(name: str, value: str, priority: int = 0) -> Item:
    return Item([Span(f"{name} ", "dim"), Span(value, "strong")], priority)


def footer_items(entries: Sequence[Entry]) -> list[Item]:
    """A key and a word for each action; what cannot be done now is grey and goes first, help and quit stay."""
    items = []
    for number, (action, keys, why_not) in enumerate(entry for entry in entries if entry.action.brief):
        ink: Ink = "faint" if why_not else "key"
        word: Ink = "faint" if why_not else "text"
        priority = 0 if action.id in STAYING else number + (100 if why_not else 1)
        items.append(
            Item([Span(keys.partition(" ")[0], ink), Span(f" {action.brief}", word)], priority, action.id)
        )
    return items


__all__ = [
    "TAB_GAP",
    "engine_word",
    "footer_items",
    "header_items",
    "hint",
    "opening_items",
    "place_words",
    "recorded_speed",
    "selection_items",
    "short_dtype",
    "stop_words",
    "tab_items",
]
