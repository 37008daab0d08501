"""View 8, Plugins: what did they change?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Container

from workbench.actions import Action
from workbench.bench import News, Scene
from workbench.oneline import Item, OneLine
from workbench.view import View
from workbench.views.quant import QuantPart
from workbench.views.quant_layout import Face, faces, is_narrow, shown
from workbench.views.quant_plain import quant_text
from workbench.widgets.pane import LinePane
from workbench.widgets.spans import Span


def _why_no_other_text(view: PluginsView) -> str | None:
    return None if len(view.quant.studies) > 1 else "this model was measured on one text only, or on none"


class PluginsView(View):
    """What methods of quantization do to the session's model."""

    view_name = "plugins"
    number = 8
    title = "Plugins"
    question = "what did they change?"
    help_text = (
        "What methods of quantization do to the session's model, as it was measured on a text: bytes,"
        " predictions, the error of each layer and tensor with the layers to blame first, where weights lie on"
        " their grid, and the tokens of which another became the likeliest. Enter on a token runs both models up"
        " to it and shows them side by side."
    )
    actions = (
        Action(
            "plugins.measure", ("w",), "Measure methods of quantization", "Run", lambda view: view.quant.ask(),
            "measure", lambda view: view.quant.why_not_run,
            "Runs compare-quant on the session's model in a process of its own; what it finds is kept.",
        ),
        Action(
            "plugins.face", ("m",), "Turn to what there was no room for", "View", lambda view: view.turn(),
            "more", lambda view: None if len(view.turns) > 1 else "all of it is on the screen",
        ),
        Action(
            "plugins.text", ("t",), "What was measured on another text", "View",
            lambda view: view.quant.next_text(), "", _why_no_other_text,
        ),
    )  # fmt: skip

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._face: Face = "quantization"

    def compose(self) -> ComposeResult:
        yield OneLine(id="plugins-faces")
        with Container(id="plugins-body"):
            yield QuantPart()

    @property
    def quant(self) -> QuantPart:
        return self.query_one(QuantPart)

    # Showing

    def show(self, scene: Scene, news: News) -> None:  # noqa: ARG002
        self.quant.show(scene)
        self._arrange()

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        self._arrange()

    def _arrange(self) -> None:
        turns = self.turns
        if self._face not in turns:
            self._face = turns[0]
        self.set_class(is_narrow(self.size), "-narrow")
        self.quant.display_only(shown(self.size, self._face) if self.quant.studies else ("methods",))
        self.query_one("#plugins-faces", OneLine).show_items([self._tab(face) for face in turns])

    def _tab(self, face: Face) -> Item:
        return Item(Span(face, "title" if face == self._face else "dim"))

    def panes(self) -> Iterable[LinePane]:
        return self.quant.on_screen()

    @property
    def turns(self) -> Sequence[Face]:
        """What takes turns."""
        return faces(self.size) if self.quant.studies else ("quantization",)

    # Acting

    def turn(self) -> None:
        """Show the next face."""
        turns = self.turns
        self._face = turns[(turns.index(self._face) + 1) % len(turns)]
        self._arrange()
        if (pane := next(iter(self.panes()), None)) is not None:
            pane.focus()
        self.post_message(self.Rearranged())

    def back(self) -> bool:
        return self.quant.stop()

    def search(self, wanted: str, direction: int) -> str:
        return self.quant.find(wanted, direction)

    # Without a screen

    def text(self, scene: Scene, width: int) -> str:
        return quant_text(self.quant.studies, scene.glyphs, width)


__all__ = ["PluginsView"]
