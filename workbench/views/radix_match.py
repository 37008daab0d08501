"""Where a request's latest prefix match ended, and why: prompt and cache side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine import events as ev
from engine.reasons import Diverged, MatchEnd
from engine.wording import why
from sessions.records import BlockChange, Decision
from workbench.bench import Scene
from workbench.views.sizes import share
from workbench.widgets.columns import Column
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Line, Span

BEFORE, AFTER = 3, 4


@dataclass(frozen=True)
class Match:
    """The match, where and when; `cached` are the ids of the closest cached block, from `start` on."""

    step: int
    event: ev.PrefixMatched
    start: int = 0
    cached: Sequence[int] = ()

    @property
    def end(self) -> MatchEnd:
        return self.event.end

    @property
    def position(self) -> int:
        """The first position that was not taken from the cache, or where the tokens part."""
        return getattr(self.end, "position", 0)


def latest_match(scene: Scene, known: Match | None = None) -> Match | None:
    """The latest match of the selected request up to this moment; None when it looked for none yet.

    `known`, the match shown before, saves looking it up again where it is still the one.
    """
    request = scene.selection.request
    if request is None:
        return None
    steps = [
        phase.first_step
        for phase in scene.record.phases(request)
        if phase.phase == "prefill" and phase.first_step <= scene.moment.step
    ]
    for step in reversed(steps):
        if known is not None and (known.step, known.event.request) == (step, request):
            return known
        for decision in reversed(scene.record.decisions(step)):
            if isinstance(decision.event, ev.PrefixMatched) and decision.request == request:
                return _match(scene, step, decision, decision.event)
    return None


def _match(scene: Scene, step: int, decision: Decision, event: ev.PrefixMatched) -> Match:
    if not isinstance(event.end, Diverged):
        return Match(step, event)
    owner = _owner(scene, event.end.block, decision.seq)
    if owner is None or owner.request is None:
        return Match(step, event)
    size = scene.record.about.options.block_size
    start = owner.block_index * size
    cached = scene.record.token_ids(owner.request)[start : start + size]
    known = 0 <= event.end.position - start < len(cached)
    if not known or cached[event.end.position - start] != event.end.cached:
        return Match(step, event)
    return Match(step, event, start, cached)


def _owner(scene: Scene, block: int, seq: int) -> BlockChange | None:
    """Who had filled a block before event `seq`."""
    history = scene.record.latest_block_changes(block, scene.moment.step, 10_000)
    given = (change for change in history if change.seq < seq and change.change in ("allocated", "copied"))
    return next(given, None)


def match_lines(scene: Scene, match: Match) -> list[Line]:
    """The match in words: how much, when, and why not more."""
    event = match.event
    found = share(event.tokens, event.looked_up)
    reason = why(event.end, scene.record.token_text)
    return [
        [
            Span(f"step {match.step}  ", "dim"),
            Span(f"{event.tokens:,} of {event.looked_up:,} tokens", "strong"),
            Span(f" found in the cache ({found})"),
        ],
        [Span("ended: ", "dim"), Span(reason, "warn")],
    ]


class SideBySide:
    """Prompt and cached tokens around the end of a match."""

    columns: Sequence[Column] = (
        Column("pos", 6, "right"),
        Column("prompt", least=8),
        Column("", 1),
        Column("cached", least=8),
    )

    def __init__(self, scene: Scene, match: Match) -> None:
        self._match = match
        self._text = scene.record.token_text
        self._glyphs = scene.glyphs
        self._ids = scene.record.token_ids(match.event.request)
        self.first = max(0, match.position - BEFORE)
        self.stop = min(len(self._ids), match.event.looked_up, match.position + AFTER + 1)

    def __len__(self) -> int:
        return max(0, self.stop - self.first)

    def row(self, index: int) -> Sequence[Line]:
        position = self.first + index
        wanted = self._ids[position]
        cached = self._cached(position)
        same, here = wanted == cached, position == self._match.position
        mark = Span("=", "faint") if same else Span(self._glyphs.cross if here else " ", "bad")
        ink: Ink = "dim" if same else "strong" if here else "text"
        return (
            Span(f"{position:,}", "strong" if here else "dim"),
            Span(f"'{self._text(wanted)}'", ink),
            mark,
            self._missing(position) if cached is None else Span(f"'{self._text(cached)}'", ink),
        )

    def changed(self, index: int) -> bool:  # noqa: ARG002
        return False

    def _missing(self, position: int) -> Span:
        """Where the closest block has ended, others may go on; without one, there is nothing."""
        beyond = len(self._match.cached) > 0 and position >= self._match.start
        return Span(self._glyphs.ellipsis if beyond else "nothing", "faint")

    def _cached(self, position: int) -> int | None:
        """What the cache had: the matched tokens themselves, then the closest block's."""
        if position < self._match.event.tokens:
            return self._ids[position]
        offset = position - self._match.start
        return self._match.cached[offset] if 0 <= offset < len(self._match.cached) else None


__all__ = ["Match", "SideBySide", "latest_match", "match_lines"]
