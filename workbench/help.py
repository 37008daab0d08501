"""Help: what the focused pane and the view show, and every key that works there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from workbench.action_book import Entry
from workbench.actions import GROUPS
from workbench.widgets.pane import LinePane
from workbench.widgets.spans import Span
from workbench.widgets.textpane import DetailPane, Fact


class Help(ModalScreen[None]):
    """A page of facts over the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "dismiss(None)", "Close")]

    def __init__(self, title: str, facts: Sequence[Fact]) -> None:
        super().__init__()
        self.heading = title
        self.facts = facts

    def compose(self) -> ComposeResult:
        with Vertical(id="help", classes="dialog"):
            pane = DetailPane(self.facts, classes="framed")
            pane.border_title = self.heading
            pane.border_subtitle = "esc closes"
            yield pane


def help_facts(view_help: str, pane: LinePane | None, entries: Iterable[Entry]) -> list[Fact]:
    """What to say about a view, its focused pane and the keys."""
    facts = [Fact("This view"), Fact(" ", view_help)]
    if pane is not None and pane.help_text:
        facts += [Fact(f"This pane: {pane.border_title or pane.id or 'here'}"), Fact(" ", pane.help_text)]
    known = list(entries)
    for group in GROUPS:
        here = [_fact(entry) for entry in known if entry.action.group == group]
        facts += [Fact(group), *here] if here else []
    facts += [Fact("Panes"), Fact("tab", "the next pane"), Fact("↑↓←→ hjkl", "move"), Fact("enter", "drill in")]
    return facts


def _fact(entry: Entry) -> Fact:
    action, keys, why_not = entry
    spans: list[Span] = [Span(action.title, "faint" if why_not else "text")]
    if action.help:
        spans.append(Span(f"  {action.help}", "dim"))
    if why_not:
        spans.append(Span(f"  (not now: {why_not})", "warn"))
    return Fact(keys or "–", spans)


__all__ = ["Help", "help_facts"]
