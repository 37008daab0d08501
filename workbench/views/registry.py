"""Which views there are, in the order of their tabs; each is imported when it is first needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from engine.plugs import NoOptions

if TYPE_CHECKING:
    from workbench.view import View


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """What the frame says of a view. `workbench/views/<name>.py` has the class `<Title>View`."""

    number: int
    name: str
    title: str
    question: str

    @property
    def key(self) -> str:
        """The key that opens it."""
        return str(self.number)

    def load_view(self) -> type[View]:
        """The view's class."""
        module = import_module(f"workbench.views.{self.name}")
        return cast("type[View]", getattr(module, f"{self.title}View"))


VIEWS = (
    ViewSpec(1, "overview", "Overview", "what is this engine doing?"),
    ViewSpec(2, "tokens", "Tokens", "why this token?"),
    ViewSpec(3, "attention", "Attention", "what did it look at?"),
    ViewSpec(4, "blocks", "Blocks", "where is its memory?"),
    ViewSpec(5, "radix", "Radix", "who shares what?"),
    ViewSpec(6, "scheduler", "Scheduler", "why now, why not?"),
    ViewSpec(7, "layers", "Layers", "where does the answer form?"),
    ViewSpec(8, "plugins", "Plugins", "what did they change?"),
    ViewSpec(9, "compare", "Compare", "where do two runs part?"),
    ViewSpec(0, "events", "Events", "everything, in order"),
)


class Views:
    """The plugin that brings the workbench's own views."""

    name = "views"
    version = "1"
    description = "The views of the workbench."
    options = NoOptions

    def provide(self, _options: NoOptions) -> Sequence[ViewSpec]:
        return VIEWS


__all__ = ["VIEWS", "ViewSpec", "Views"]
