"""What plugins add to the screen: views, panels and commands, and what becomes of one that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.plug_guard import DEADLINE_S, ContractError, PluginFailedError, call_hook
from engine.plugs_screen import Seen
from engine.sanitise import display_text

if TYPE_CHECKING:
    from engine.plugs_screen import Command, Panel
    from engine.plugs_screen import View as PluginView
    from workbench.bench import Scene
    from workbench.view import View

PANEL_DEADLINE_S: Final = 0.25
Fail = Callable[[PluginFailedError], None]


@dataclass(slots=True, eq=False)
class AddedView:
    """A view or a panel of `plugin`, opened by name: it has no number and no key."""

    plugin: str
    brought: PluginView | Panel
    failure: PluginFailedError | None = None

    number = ""
    key = ""

    @property
    def name(self) -> str:
        return self.brought.name

    @property
    def title(self) -> str:
        return display_text(self.brought.title)

    @property
    def question(self) -> str:
        return display_text(self.brought.question)

    def load_view(self) -> type[View]:
        """The view's class."""
        if hasattr(self.brought, "load_view"):
            found: type[View] = self.brought.load_view()
            return found
        from workbench.views.plugin_panel import panel_view

        return panel_view(self)

    def lines(self, seen: Seen, width: int, height: int, fail: Fail) -> list[str]:
        """What the panel shows; why it shows nothing, once it has failed. `fail` hears of that, once."""
        if self.failure is None:
            try:
                return self._ask(seen, width, height)
            except PluginFailedError as failure:
                self.failure = failure
                fail(failure)
        return [display_text(f"{self.failure}; it is not asked again")]

    def _ask(self, seen: Seen, width: int, height: int) -> list[str]:
        panel = self.brought
        assert not hasattr(panel, "load_view")
        return call_hook(
            self.plugin, "panel_lines", lambda: _lines(panel.panel_lines(seen, width, height)), PANEL_DEADLINE_S
        )


@dataclass(slots=True, eq=False)
class AddedCommand:
    """A command of `plugin`."""

    plugin: str
    command: Command
    failure: PluginFailedError | None = None

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def meaning(self) -> str:
        return display_text(self.command.meaning)

    def run(self, arguments: str, seen: Seen) -> list[str]:
        """What it answers. Raises PluginFailedError, now and whenever it is called again."""
        if self.failure is not None:
            raise self.failure
        try:
            answer = lambda: _lines(self.command.run_command(arguments, seen))  # noqa: E731
            return call_hook(self.plugin, "run_command", answer, DEADLINE_S)
        except PluginFailedError as failure:
            self.failure = failure
            raise


@dataclass(frozen=True, slots=True)
class AddedPage:
    """What there is to read about a plugin that is on: a line for the palette, and a page."""

    plugin: str
    about: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Added:
    """Everything that plugins add to one screen."""

    views: Sequence[AddedView] = ()
    commands: Sequence[AddedCommand] = ()
    pages: Sequence[AddedPage] = ()

    def view(self, name: str) -> AddedView | None:
        return next((each for each in self.views if each.name == name), None)

    def command(self, name: str) -> AddedCommand | None:
        return next((each for each in self.commands if each.name == name), None)


def seen_in(scene: Scene) -> Seen:
    """What plugins are given of a scene."""
    record, chosen = scene.record, scene.selection
    request, position = chosen.request, chosen.position
    known = request is not None and record.request(request) is not None
    return Seen(
        branch=scene.moment.branch,
        step=scene.moment.step,
        state=scene.moment.state,
        request=request,
        position=position,
        tokens=record.token_ids(request) if known and request is not None else (),
        details=record.details(request, position) if request is not None and position is not None else None,
        token_text=record.token_text,
    )


def _lines(answer: object) -> list[str]:
    """Lines as they may be drawn. Raises ContractError for anything but text."""
    if isinstance(answer, str) or not isinstance(answer, Sequence):
        raise ContractError(f"returned {type(answer).__name__}, not a list of lines")
    for line in answer:
        if not isinstance(line, str):
            raise ContractError(f"returned a line that is {type(line).__name__}, not text")
    return [display_text(line) for line in answer]


__all__ = ["Added", "AddedCommand", "AddedPage", "AddedView", "Fail", "seen_in"]
