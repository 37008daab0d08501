"""View 5, Radix: who shares what?"""

from __future__ import annotations

from textual.app import ComposeResult

from workbench.bench import News, Scene
from workbench.view import View
from workbench.widgets.textpane import TextPane


class RadixView(View):
    """Who shares what?"""

    view_name = "radix"
    number = 5
    title = "Radix"
    question = "who shares what?"

    def compose(self) -> ComposeResult:
        yield TextPane(classes="framed")

    def show(self, scene: Scene, news: News) -> None:  # noqa: ARG002
        self.query_one(TextPane).set_lines([f"step {scene.moment.step}"])

    def text(self, scene: Scene, width: int) -> str:
        return f"{self.title}: step {scene.moment.step}"[:width]


__all__ = ["RadixView"]
