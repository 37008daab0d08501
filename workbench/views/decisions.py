"""The decisions of a step and of those before it, in words, with what each speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from engine import events as ev
from engine.wording import sentence
from workbench.bench import Scene
from workbench.selection import Selection
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Line, Span

INKS: dict[type[ev.Event], Ink] = {
    ev.Waiting: "waiting",
    ev.PrefixMatched: "cached",
    ev.Evicted: "evicted",
    ev.Admitted: "good",
    ev.Preempted: "preempted",
    ev.Finished: "strong",
    ev.StepFailed: "bad",
    ev.Drafted: "waiting",
    ev.Token: "decode",
    ev.BeamsChosen: "decode",
    ev.BeamsEnded: "strong",
    ev.StepCommitted: "dim",
}


class Told(NamedTuple):
    """A decision: its step, and its event."""

    step: int
    event: ev.AnyEvent


def told_until(scene: Scene, least: int, steps: int = 12) -> list[Told]:
    """The decisions of this step, then of at most `steps` before it until there are `least`."""
    told: list[Told] = []
    for step in range(scene.moment.step, max(-1, scene.moment.step - steps), -1):
        here = scene.moment.decisions if step == scene.moment.step else scene.record.decisions(step)
        told += [Told(step, decision.event) for decision in here]
        if len(told) >= least:
            break
    return told


def line_of(told: Told, scene: Scene) -> Line:
    """One decision as a paragraph; those of earlier steps name their step and are dim."""
    words = sentence(told.event, scene.record.token_text)
    if told.step != scene.moment.step:
        return [Span(f"{told.step:>4}  ", "faint"), Span(words, "dim")]
    head, colon, rest = words.partition(":")
    return [Span(f"{told.step:>4}  ", "dim"), Span(head + colon, INKS.get(type(told.event), "text")), Span(rest)]


def select_subject(event: ev.AnyEvent, chosen: Selection) -> Selection:
    """`chosen`, moved to what the event speaks of: a request, a token, a block, a node; and to its step."""
    request = ev.request_in(event)
    if isinstance(event, ev.Evicted):
        return replace(chosen, step=event.step, block=event.blocks[0], node=None)
    if request is not None:
        position = event.position if isinstance(event, ev.Token) else None
        chosen = replace(chosen, request=request, position=position)
    blocks: Sequence[int] = getattr(event, "blocks", ())
    block = blocks[0] if blocks else getattr(event, "block", chosen.block)
    return replace(chosen, step=event.step, block=block, node=getattr(event, "node", chosen.node))


__all__ = ["INKS", "Told", "line_of", "select_subject", "told_until"]
