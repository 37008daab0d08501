"""Trying other sampler settings on a request: what is tried, and what that would choose."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.details import TokenDetails
from engine.params import SamplingParams
from workbench.bench import Scene
from workbench.inspections import Look
from workbench.views.captured import captured_logits
from workbench.views.looking import looked, why_not_looked
from workbench.views.subject import Subject
from workbench.views.tokens_facts import no_choice, of_draft
from workbench.views.tokens_whatif import Reworked, Settings, rework_choice


@dataclass
class Trying:
    """The settings that are tried, None while nothing is; they stay while tokens of one request are visited."""

    settings: Settings | None = None
    _known: tuple[object, Reworked | str] = (None, "")  # what was worked out last, and from what

    def begin(self, scene: Scene, request: str) -> None:
        """Start from the settings the request has."""
        row = scene.record.request(request)
        assert row is not None
        self.settings = Settings(request, row.sampling, row.sampling)

    def end(self) -> None:
        self.settings = None

    def change(self, tried: SamplingParams) -> None:
        """Try these."""
        if self.settings is not None:
            self.settings = replace(self.settings, tried=tried)

    def visit(self, request: str) -> Settings | None:
        """The settings tried on `request`; those of another request are given up."""
        if self.settings is not None and self.settings.request != request:
            self.settings = None
        return self.settings

    def result(self, scene: Scene, subject: Subject, settings: Settings) -> Reworked | str:
        """What they would choose, or why that cannot be worked out (now).

        It can for prompt tokens and for the next token to come, too: all it takes is the row before.
        """
        row = subject.choice - 1
        if subject.absent or row < 0:
            return no_choice(subject)
        if subject.following and scene.engine.state == "running":
            return "The run goes on. c pauses it; then the stages of the newest token are worked out again."
        captured = captured_logits(scene.record, subject.request, subject.choice)
        logits = captured or self._inspected(scene, Look(subject.request, row))
        if isinstance(logits, str):
            return logits
        given = (logits, subject.request, subject.choice, subject.choice < subject.count, settings.tried)
        if self._known[0] != given:
            worked = rework_choice(scene.record, subject.request, subject.choice, logits, settings.tried)
            if captured and isinstance(worked, Reworked):
                worked = replace(worked, captured=True)
            self._known = (given, worked)
        return self._known[1]

    def _inspected(self, scene: Scene, look: Look) -> bytes | str:
        """The logits of a row that is looked at again, or why there are none (yet)."""
        answer = looked(scene, look)
        if answer.state == "asked":
            return f"Asking the engine for the logits of row {look.position} again."
        if answer.result is None:
            why_not = why_not_looked(answer.why, scene)
            return f"This needs all logits of the row, which were not captured (--capture logits).\n{why_not}"
        return answer.result.logits


def trying_title(settings: Settings, subject: Subject, result: Reworked, scene: Scene) -> str:
    """What is tried, and what comes of it."""
    before = scene.record.details(subject.request, subject.choice)
    token = f"'{scene.record.token_text(result.details.token)}'"
    if result.given is not None:
        given = f"'{scene.record.token_text(result.given.token)}'"
        return f"instead of the given {given} (rank {result.given.rank:,}): {token}"
    if subject.choice >= subject.count:
        return f"what comes next, {settings.changes}: {token}"
    how = "worked again without drafts" if of_draft(before) else "worked again"
    return f"{how}, {settings.changes}: {'the same token' if _same(before, result.details) else token}"


def draw_title(before: TokenDetails | None) -> str:
    """Which draw it is that the settings are tried with, where there was one."""
    return "what if: the draw that there is without drafts" if of_draft(before) else "what if: the same draw"


def _same(before: TokenDetails | None, now: TokenDetails) -> bool:
    return before is not None and before.token == now.token


__all__ = ["Trying", "draw_title", "trying_title"]
