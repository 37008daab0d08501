"""View 2, Tokens: why this token?"""

from __future__ import annotations

from textual.app import ComposeResult

from workbench.bench import News, Scene
from workbench.view import View
from workbench.widgets.textpane import TextPane


class TokensView(View):
    """Why this token?"""

    view_name = "tokens"
    number = 2
    title = "Tokens"
    question = "why this token?"

    def compose(self) -> ComposeResult:
        yield TextPane(classes="framed")

    def show(self, scene: Scene, news: News) -> None:  # noqa: ARG002
        self.query_one(TextPane).set_lines([f"step {scene.moment.step}"])

    def text(self, scene: Scene, width: int) -> str:
        return f"{self.title}: step {scene.moment.step}"[:width]


__all__ = ["TokensView"]
