"""The decisions of a step as paragraphs: what, why, and the inequality that decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from engine import events as ev
from engine import reasons as why_
from workbench.bench import Scene
from workbench.views.decisions import Told, line_of, told_until
from workbench.widgets.spans import Line, Span, pieces

LEAST_DECISIONS = 12
MOST_DECISIONS = 80
_INEQUALITIES: Final[Mapping[type[why_.Reason], Callable[[Any], str]]] = {
    why_.NoFreeBlocks: lambda r: f"{r.need} > {r.free} + {r.evictable} blocks",
    why_.NeededBlocks: lambda r: f"{r.need} > {r.free} + {r.evictable} blocks",
    why_.TokenBudgetSpent: lambda r: f"{r.used} + {r.need} > {r.budget} tokens",
    why_.MaxRunning: lambda r: f"{r.running} + {r.need} > {r.limit} requests",
    why_.BlockNotFull: lambda r: f"{r.tokens} < {r.block_size} tokens",
}
OPENS: Final[Mapping[type[ev.Event], str]] = {
    ev.Evicted: "radix",
    ev.PrefixMatched: "radix",
    ev.KeptPrivate: "radix",
    ev.Waiting: "blocks",
    ev.Admitted: "blocks",
    ev.Preempted: "blocks",
    ev.Dropped: "blocks",
    ev.Finished: "tokens",
    ev.StepFailed: "events",
}


def told_in(scene: Scene) -> Sequence[Told]:
    """The decisions of the step, then of those before it, until there are some."""
    return told_until(scene, LEAST_DECISIONS)[:MOST_DECISIONS]


def decision_line(told: Told, among: Sequence[Told], scene: Scene) -> Line:
    """A decision in words, and its inequality."""
    line = list(pieces(line_of(told, scene)))
    sign = inequality(told.event, among)
    if scene.glyphs.name == "ascii":
        sign = sign.replace("≤", "<=")
    if sign:
        here = told.step == scene.moment.step
        line += [Span("  "), Span(sign, "strong" if here else "dim")]
    return line


def comparison(reason: why_.Reason | None) -> str:
    """The comparison in a reason, in numbers; "" where it has none."""
    write = _INEQUALITIES.get(type(reason)) if reason is not None else None
    return write(reason) if write else ""


def inequality(event: ev.AnyEvent, among: Sequence[Told]) -> str:
    """The comparison that decided, in numbers; "" where none did. `among` are the decisions told with it."""
    if isinstance(event, ev.Admitted):
        return _admitted(event, among)
    reason = getattr(event, "reason", getattr(event, "end", None))
    return comparison(reason) if isinstance(reason, why_.Reason) else ""


def _admitted(event: ev.Admitted, among: Sequence[Told]) -> str:
    """It fits: in what is free, and what was evicted for it."""
    evicted = sum(
        len(told.event.blocks)
        for told in among
        if isinstance(told.event, ev.Evicted)
        and (told.step, told.event.for_request) == (event.step, event.request)
    )
    room = f"{event.free_blocks} + {evicted} evicted" if evicted else f"{event.free_blocks}"
    return f"{event.need_blocks} ≤ {room} blocks"


def not_shown(scene: Scene) -> Line | None:
    """What to say of decisions that are left out because they are too many."""
    more = len(scene.moment.decisions) - MOST_DECISIONS
    return Span(f"{more:,} more in this step: 0 opens Events", "dim") if more > 0 else None


def nothing_decided(scene: Scene) -> Line:
    """What to say of a step in which nothing was decided."""
    step = scene.moment.step
    if step == 0:
        return Span("No step was taken yet: n takes one.", "dim")
    return Span(f"{step:>4}  nothing had to be decided: what runs goes on", "dim")


__all__ = ["OPENS", "comparison", "decision_line", "inequality", "not_shown", "nothing_decided", "told_in"]
