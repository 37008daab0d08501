"""ActionBook: every action there is, with the keys it has now, and whether it can be done now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.actions import Action, shown_key
from workbench.commands import COMMANDS
from workbench.commands.added import added_actions
from workbench.views.registry import VIEWS

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp
    from workbench.view import View


class Entry(NamedTuple):
    """An action, its keys as they are typed, and why it cannot be done now."""

    action: Action[Any]
    keys: str
    why_not: str | None


class ActionBook:
    """The app's actions and those of its views, after a person's key map (action ids to Textual's keys)."""

    def __init__(self, app: WorkbenchApp, keymap: Mapping[str, str]) -> None:
        self._app = app
        self._keymap = keymap

    def find(self, action_id: str) -> Action[Any] | None:
        """An action of the app by its id; None for one of a view."""
        return next((action for action in self._all_of_app() if action.id == action_id), None)

    def owner(self, action_id: str) -> str | None:
        """The view that has an action."""
        return next((spec.name for spec in VIEWS if action_id in _ids(spec.load_view().actions)), None)

    def of_app(self) -> Iterator[Entry]:
        return (self._entry(action, action.why_not(self._app)) for action in self._all_of_app())

    def _all_of_app(self) -> tuple[Action[WorkbenchApp], ...]:
        """The app's own actions, then those that plugins added."""
        return (*COMMANDS, *added_actions(self._app))

    def of_view(self, view: View | None) -> Iterator[Entry]:
        return (self._entry(action, action.why_not(view)) for action in (view.actions if view else ()))

    def everything(self) -> Iterator[Entry]:
        """All actions; those of views that are not on the screen open them first."""
        yield from self.of_app()
        for spec in VIEWS:
            if self._app.view is not None and self._app.view.view_name == spec.name:
                yield from self.of_view(self._app.view)
            else:
                yield from (self._entry(action, None) for action in spec.load_view().actions)

    def _entry(self, action: Action[Any], why_not: str | None) -> Entry:
        mapped = self._keymap.get(action.id)
        names = mapped.split(",") if mapped else action.keys
        return Entry(action, " ".join(map(shown_key, names)), why_not)


def default_keys() -> dict[str, tuple[str, ...]]:
    """Every action a key map may name, and the keys it has without one."""
    of_views = (action for spec in VIEWS for action in spec.load_view().actions)
    return {action.id: action.keys for action in (*COMMANDS, *of_views)}


def _ids(actions: Sequence[Action[Any]]) -> list[str]:
    return [action.id for action in actions]


__all__ = ["ActionBook", "Entry", "default_keys"]
