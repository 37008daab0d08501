"""The view of a plugin's panel: its lines in one pane, asked for again when something has changed."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.events import Resize

from workbench.added import AddedView, seen_in
from workbench.bench import News, Scene
from workbench.view import View
from workbench.widgets.textpane import TextPane


class PanelView(View):
    """A panel; `panel` is whose lines it shows."""

    panel: ClassVar[AddedView]

    def compose(self) -> ComposeResult:
        pane = TextPane(id="panel", classes="framed", indent=0, empty="The panel has nothing to say.")
        pane.border_title = self.title.lower()
        pane.border_subtitle = f"plugin {self.panel.plugin}"
        yield pane

    @property
    def pane(self) -> TextPane:
        return self.query_one("#panel", TextPane)

    def show(self, scene: Scene, news: News) -> None:
        if news & (News.MOMENT | News.SELECTION | News.RECORD):
            self._fill(scene)

    def on_resize(self, event: Resize) -> None:
        super().on_resize(event)
        self._fill(self.scene)

    def _fill(self, scene: Scene) -> None:
        width, height = max(1, self.pane.body_width - 1), max(1, self.pane.size.height)
        self.pane.set_lines(self.panel.lines(seen_in(scene), width, height, self.bench.plugin_failed))

    def text(self, scene: Scene, width: int) -> str:
        return "\n".join(self.panel.lines(seen_in(scene), width, 1000, self.bench.plugin_failed))


def panel_view(panel: AddedView) -> type[View]:
    """The view's class of one panel."""
    return type(
        "PluginPanelView",
        (PanelView,),
        {
            "panel": panel,
            "view_name": panel.name,
            "number": -1,
            "title": panel.title,
            "question": panel.question,
            "help_text": f"{panel.question} This panel comes from the plugin {panel.plugin}.",
        },
    )


__all__ = ["PanelView", "panel_view"]
