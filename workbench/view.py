"""View: the base of the numbered views. A view composes panes, and fills them from the scene it is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from textual import events
from textual.message import Message
from textual.widget import Widget

from workbench.actions import Action, bindings
from workbench.bench import Bench, News, Scene
from workbench.widgets.pane import LinePane

if TYPE_CHECKING:
    from workbench.forking import ForkHint


class Drop(NamedTuple):
    """A pane (by CSS id) that needs a view of at least this size; below it, it is left out and said so."""

    pane: str
    least_width: int = 0
    least_height: int = 0


class View(Widget):
    """A numbered view. Subclasses compose panes (`LinePane`s with the class `framed` and a border title).

    The app calls `show` when the view becomes visible and whenever `news` concerns what it shows, at most 25
    times a second; a hidden view hears nothing. `show` fills panes from the scene and keeps no reference to
    it; later handlers use `self.scene`. Handlers of pane messages call `self.bench.select(...)`, and the app
    answers with another `show`: panes are moved by `show_cursor`, which posts nothing, so nothing loops.
    """

    view_name: ClassVar[str]  # what `Bench.open_view`, the palette and the key map call it
    number: ClassVar[int]
    title: ClassVar[str]
    question: ClassVar[str]  # what the view answers, for help and palette
    help_text: ClassVar[str] = ""
    actions: ClassVar[Sequence[Action[Any]]] = ()
    drops: ClassVar[Sequence[Drop]] = ()

    class Rearranged(Message):
        """Other panes than before are on the screen."""

    DEFAULT_CSS = """
    View { width: 1fr; height: 1fr; layout: vertical; }
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if cls.actions:
            cls.BINDINGS = [*bindings(cls.actions)]
        super().__init_subclass__(**kwargs)

    # What a subclass says

    def show(self, scene: Scene, news: News) -> None:
        """Fill the panes. Takes under 10 ms: anything longer is a worker that ends in `self.bench`."""
        raise NotImplementedError

    def text(self, scene: Scene, width: int) -> str:
        """What the view shows, as text of at most `width` cells a line; works without any pane mounted."""
        raise NotImplementedError

    def search(self, wanted: str, direction: int) -> str:  # noqa: ARG002
        """Move to the next place (1) or the one before (-1) that has `wanted`; the message line's answer."""
        return f"there is no text to search in {self.title}"

    def back(self) -> bool:
        """Undo the latest drilling in; False when there is none and `esc` may leave the view."""
        return False

    def fork_hint(self) -> ForkHint | None:
        """What a fork would change, going by what is under the cursor; None where the view has no opinion."""
        return None

    # What a subclass uses

    @property
    def bench(self) -> Bench:
        """The app: select, seek, open another view, say something."""
        return cast(Bench, self.app)

    @property
    def scene(self) -> Scene:
        """What is on the screen now."""
        return self.bench.scene

    def panes(self) -> Iterable[LinePane]:
        """The panes that are on the screen, in the order `tab` visits them."""
        return (pane for pane in self.query(LinePane) if pane.display)

    # What the base does

    @property
    def dropped(self) -> list[str]:
        """Titles of the panes there is no room for."""
        panes = (self.query_one(f"#{drop.pane}") for drop in self.drops)
        return [str(pane.border_title or pane.id) for pane in panes if not pane.display]

    def on_resize(self, event: events.Resize) -> None:
        for drop in self.drops:
            fits = event.size.width >= drop.least_width and event.size.height >= drop.least_height
            self.query_one(f"#{drop.pane}").display = fits

    def action_act(self, action_id: str) -> None:
        """Do one of the view's actions, or say why not."""
        action = next(action for action in self.actions if action.id == action_id)
        if (why := action.why_not(self)) is not None:
            self.bench.say(f"{action.title}: {why}", problem=True)
        else:
            action.run(self)


__all__ = ["Drop", "View"]
