"""The searches that were asked for on this screen: the one under way, and what the others found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sessions.diff_result import StageSearch
from workbench.views.compare_search import Search, Wanted
from workbench.views.compare_text import search_lines
from workbench.widgets.spans import Line, Span

HOW_TO_SEARCH = (
    "d runs both again at the selected position, or else where their tokens part, and finds the first stage whose"
    " difference the stages before it do not explain. It needs the model."
)
Found = StageSearch | str


@dataclass
class Searches:
    """`found` has an answer, or why there was none, for each search that ended."""

    running: Search | None = None
    progress: str = ""
    found: dict[Wanted, Found] = field(default_factory=dict)

    def begin(self, command: Sequence[str], wanted: Wanted) -> Search:
        """The search to run; the one before it ends."""
        self.stop()
        self.running, self.progress = Search(command, wanted), "starting …"
        return self.running

    def ended(self, search: Search, found: Found) -> None:
        self.found.pop(search.wanted, None)  # the newest is the last
        self.found[search.wanted] = found
        if search is self.running:
            self.running = None

    def stop(self) -> bool:
        """End the search under way; whether there was one."""
        running, self.running = self.running, None
        if running is not None:
            running.stop()
        return running is not None

    def answer(self, wanted: Wanted | None) -> tuple[Wanted, Found] | None:
        """What was found there, or else last for the same two requests."""
        if wanted is None:
            return None
        if wanted in self.found:
            return wanted, self.found[wanted]
        same = [each for each in self.found if each._replace(position=wanted.position) == wanted]
        return (same[-1], self.found[same[-1]]) if same else None

    def lines(self, wanted: Wanted | None, why_not: str | None) -> list[Line]:
        """What to say: how far the search is, what it found, or how to begin one."""
        if self.running is not None and self.running.wanted == wanted:
            return [Span(self.progress, "accent"), Span("esc stops it", "dim")]
        answer = self.answer(wanted)
        if answer is not None and isinstance(answer[1], StageSearch):
            return search_lines(answer[1])
        if answer is not None:
            return [Span(str(answer[1]), "bad")]
        return [Span(HOW_TO_SEARCH if why_not is None else f"{why_not[:1].upper()}{why_not[1:]}.", "dim")]


__all__ = ["HOW_TO_SEARCH", "Searches"]
