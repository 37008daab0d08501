"""The explanation of a request over the views: why it waited, missed or was preempted, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from sessions.errors import SessionError
from sessions.explain import explain_requests, harmless_text
from sessions.explain_words import told
from sessions.reader import Session
from workbench.chooser import Page
from workbench.widgets.inks import Ink
from workbench.widgets.spans import Line, Span
from workbench.widgets.textpane import TextPane


class ExplainBox(Page):
    """Reads what there is about a request, beside the screen, and shows it a sentence after the other."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,e", "dismiss(None)", "Close", priority=True),
        Binding("y", "copy", "Copy", priority=True),
    ]

    def __init__(self, session: Path, branch: int, request: str) -> None:
        super().__init__(f"The life of request {request}", [Span("reading the record …", "dim")])
        self.session = session
        self.branch = branch
        self.request = request
        self.sentences: Sequence[str] = ()

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(TextPane).border_subtitle = "y copies, esc closes"
        self.run_worker(self._read, name="explain", thread=True, exit_on_error=False)

    def _read(self) -> None:
        """On a worker's thread, with a connection of its own."""
        try:
            with Session.open(self.session) as session:
                [life] = explain_requests(session, [self.request], self.branch)
                sentences, problem = told(life, harmless_text(session)), False
        except SessionError as error:
            sentences, problem = [str(error)], True
        self.app.call_from_thread(partial(self._show, sentences, problem=problem))

    def _show(self, sentences: Sequence[str], *, problem: bool) -> None:
        self.sentences = () if problem else sentences
        if self.is_attached:
            self.query_one(TextPane).set_lines(_paragraphs(sentences, "bad" if problem else "text"))

    def action_copy(self) -> None:
        if self.sentences:
            self.app.copy_to_clipboard("\n".join(self.sentences))
            self.query_one(TextPane).border_subtitle = f"copied {len(self.sentences)} sentences, esc closes"


def _paragraphs(sentences: Sequence[str], ink: Ink) -> list[Line]:
    """A blank line between paragraphs."""
    lines: list[Line] = []
    for sentence in sentences:
        lines += ["", Span(sentence, ink)] if lines else [Span(sentence, ink)]
    return lines


__all__ = ["ExplainBox"]
