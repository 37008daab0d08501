"""Body: the room between the frame's lines, and the views that take turns in it."""

from __future__ import annotations

from collections.abc import Sequence

from textual.containers import Container
from textual.message import Message

from workbench.added import AddedView
from workbench.view import View
from workbench.views.registry import VIEWS, ViewSpec

TRAIL_VIEWS = 20


class Body(Container):
    """Makes a view when it is first opened, and remembers which were open before."""

    class Turned(Message):
        """Another view is on the screen, its panes laid out."""

    def __init__(self, added: Sequence[AddedView] = (), *, id: str | None = None) -> None:  # noqa: A002
        """`added` are the views that plugins brought."""
        super().__init__(id=id)
        self._added = added
        self.open_name = VIEWS[0].name
        self.turning = False  # until the app was told that the view is there
        self._views: dict[str, View] = {}
        self._trail: list[str] = []

    @property
    def view(self) -> View | None:
        """The view on the screen, once it is there."""
        view = self._views.get(self.open_name)
        return view if view is not None and view.is_mounted else None

    def open(self, name: str) -> None:
        """Show a view."""
        if name != self.open_name:
            self._trail = [*self._trail[-TRAIL_VIEWS:], self.open_name]
            self._turn_to(name)

    def back(self) -> None:
        """Show the view that was open before this one."""
        if self._trail:
            self._turn_to(self._trail.pop())

    def begin(self, name: str | None = None) -> None:
        """Show the first view, or the one of that name."""
        self._turn_to(name or self.open_name)

    def _turn_to(self, name: str) -> None:
        self.turning = True
        self.screen.minimize()
        for view in self._views.values():
            view.display = view.view_name == name
        self.open_name = name
        self.call_next(self._show)

    async def _show(self) -> None:
        name = self.open_name
        if name not in self._views:
            specs: list[ViewSpec | AddedView] = [*VIEWS, *self._added]
            spec = next(each for each in specs if each.name == name)
            self._views[name] = spec.load_view()(id=f"view-{name}")
            await self.mount(self._views[name])
        self.call_after_refresh(self._announce, name)

    def _announce(self, name: str) -> None:
        if name == self.open_name and (view := self.view) is not None:
            if (pane := next(iter(view.panes()), None)) is not None:
                pane.focus()
            self.post_message(self.Turned())


__all__ = ["Body"]
