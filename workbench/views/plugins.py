"""View 8, Plugins: what did they change?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, cast, get_args

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container

from sessions.quantization_kept import model_folder, read_studies
from workbench.actions import Action
from workbench.bench import News, Scene
from workbench.oneline import Item, OneLine
from workbench.view import View
from workbench.views import drafts_layout, quant_layout
from workbench.views.drafts import DraftsPart, drafts_text
from workbench.views.drafts_data import has_drafts
from workbench.views.plugins_run import RunPart, plugins_text
from workbench.views.quant import QuantPart
from workbench.views.quant_plain import quant_text
from workbench.widgets.pane import LinePane
from workbench.widgets.spans import Span

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp

Face = Literal[drafts_layout.Face, quant_layout.Face, "plugins"]
DRAFTS: Sequence[Face] = get_args(drafts_layout.Face)
QUANT: Sequence[Face] = get_args(quant_layout.Face)


def _why_no_other_text(view: PluginsView) -> str | None:
    return None if len(view.quant.studies) > 1 else "this model was measured on one text only, or on none"


def _why_no_drafts(view: PluginsView) -> str | None:
    return None if view.drafts_there else "nothing was drafted up to this step"


class PluginsView(View):
    """Drafts of the selected request, quantization of the session's model, and the run's plugins."""

    view_name = "plugins"
    number = 8
    title = "Plugins"
    question = "what did they change?"
    help_text = (
        "m turns between three things. Drafts: what was guessed for the selected request, token under token,"
        " the numbers that each was accepted or rejected by, and what it all came to. Quantization: what methods"
        " do to the session's model, as it was measured on a text; enter on a token runs both models up to it and"
        " shows them side by side. Plugins: those of the run, with their options and what each did."
    )
    actions = (
        Action(
            "plugins.face", ("m",), "Drafts, quantization, or the run's plugins", "View",
            lambda view: view.turn(), "more",
        ),
        Action(
            "plugins.measure", ("w",), "Measure methods of quantization", "Run", lambda view: view.measure(),
            "measure", lambda view: view.quant.why_not_run,
            "Runs compare-quant on the session's model in a process of its own; what it finds is kept.",
        ),
        Action(
            "plugins.text", ("t",), "What was measured on another text", "View",
            lambda view: view.quant.next_text(), "", _why_no_other_text,
        ),
        Action(
            "plugins.drafts", (), "Show the drafts of the selected request", "View",
            lambda view: view.turn_to("drafts"), "", _why_no_drafts,
        ),
        Action(
            "plugins.quantization", (), "Show what quantization does to this model", "View",
            lambda view: view.turn_to("quantization"),
        ),
        Action("plugins.plugins", (), "Show the run's plugins", "View", lambda view: view.turn_to("plugins")),
    )  # fmt: skip

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._face: Face = "quantization"  # what a person or the first scene chose
        self.drafts_there = False

    def compose(self) -> ComposeResult:
        yield OneLine(id="plugins-faces")
        with Container(id="plugins-body"):
            yield DraftsPart()
            yield QuantPart()
            yield RunPart()

    @property
    def quant(self) -> QuantPart:
        return self.query_one(QuantPart)

    @property
    def drafts(self) -> DraftsPart:
        return self.query_one(DraftsPart)

    @property
    def run_part(self) -> RunPart:
        return self.query_one(RunPart)

    def on_mount(self) -> None:
        """Know what there is before the first pane gets the focus."""
        self._take_in(self.scene)
        self.quant.visit(self.scene)
        self._face = self._first_face(self.scene)
        self._arrange()

    def on_show(self) -> None:
        self.quant.visit(self.scene)

    # Showing

    @on(QuantPart.Changed)
    def _make_room(self) -> None:
        """Give what has been measured its panes."""
        self._arrange()
        self.post_message(self.Rearranged())

    def show(self, scene: Scene, news: News) -> None:  # noqa: ARG002
        self._take_in(scene)
        self._arrange()
        if self.face in DRAFTS:
            self.drafts.show(scene)
        elif self.face == "plugins":
            self.run_part.show(scene)

    def _take_in(self, scene: Scene) -> None:
        self.drafts_there = self.drafts_there or has_drafts(scene)

    def _first_face(self, scene: Scene) -> Face:
        """What there is most to say about."""
        if self.drafts_there:
            return "drafts"
        return "plugins" if scene.record.about.plugins and not self.quant.studies else "quantization"

    @property
    def turns(self) -> Sequence[Face]:
        """What takes turns, in the order of `m`."""
        drafts: Sequence[Face] = drafts_layout.faces(self.size) if self.drafts_there else ()
        quant: Sequence[Face] = quant_layout.faces(self.size) if self.quant.studies else ("quantization",)
        return (*drafts, *quant, "plugins")

    @property
    def face(self) -> Face:
        """What is on the screen: the nearest to what was chosen that there is at this size."""
        turns = self.turns
        if self._face in turns:
            return self._face
        return "drafts" if self._face in DRAFTS and "drafts" in turns else "quantization"

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        self._arrange()

    def _arrange(self) -> None:
        face = self.face
        self.set_class(quant_layout.is_narrow(self.size), "-narrow")
        self.drafts.display, self.quant.display = face in DRAFTS, face in QUANT
        self.run_part.display = face == "plugins"
        if face in DRAFTS:
            self.drafts.display_only(drafts_layout.shown(self.size, face))  # type: ignore[arg-type]
        if face in QUANT:
            there = quant_layout.shown(self.size, face)  # type: ignore[arg-type]
            self.quant.display_only(there if self.quant.studies else ("methods",))
        self.query_one("#plugins-faces", OneLine).show_items([self._tab(each) for each in self.turns])

    def _tab(self, face: Face) -> Item:
        action = f"plugins.{face}" if face in ("drafts", "quantization", "plugins") else "plugins.face"
        return Item(Span(face, "title" if face == self.face else "dim"), action=action)

    def panes(self) -> Iterable[LinePane]:
        part = self.drafts if self.face in DRAFTS else self.quant if self.face in QUANT else self.run_part
        return part.on_screen()

    # Acting

    def turn(self) -> None:
        """Show the next face."""
        turns = self.turns
        self.turn_to(turns[(turns.index(self.face) + 1) % len(turns)])

    def turn_to(self, face: Face) -> None:
        """Show one face."""
        self._face = face
        self.quant.visit(self.scene)
        self.show(self.scene, News.ALL)
        if (pane := next(iter(self.panes()), None)) is not None:
            pane.focus()
        self.post_message(self.Rearranged())

    def measure(self) -> None:
        """Show quantization, and ask what to measure."""
        if self.face not in QUANT:
            self.turn_to("quantization")
        self.quant.ask()

    def back(self) -> bool:
        return self.quant.stop()

    def search(self, wanted: str, direction: int) -> str:
        if self.face in DRAFTS:
            return self.drafts.find(wanted, direction)
        return self.quant.find(wanted, direction) if self.face in QUANT else super().search(wanted, direction)

    # Without a screen

    def text(self, scene: Scene, width: int) -> str:
        """All three, whichever is on the screen."""
        about = scene.record.about
        studies = read_studies(model_folder(about.config_sha256, about.weights_sha256))
        pages = cast("WorkbenchApp", self.app).added.pages if self.is_attached else ()
        drafts = [drafts_text(scene, width)] if has_drafts(scene) else []
        return "\n".join([*drafts, quant_text(studies, scene.glyphs, width), plugins_text(scene, pages, width)])


__all__ = ["PluginsView"]
