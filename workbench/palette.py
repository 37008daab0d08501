"""The command palette: every action of the app and its views, and the themes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.markup import escape

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


class Found(NamedTuple):
    """A line of the palette."""

    title: str
    help: str
    run: Callable[[], object]


class Palette(Provider):
    """Finds actions by name."""

    async def discover(self) -> Hits:
        for entry in self._entries():
            yield DiscoveryHit(Content(entry.title), entry.run, text=entry.title, help=escape(entry.help))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for entry in self._entries():
            if (score := matcher.match(entry.title)) > 0:
                shown = matcher.highlight(entry.title)
                yield Hit(score, shown, entry.run, text=entry.title, help=escape(entry.help))

    def _entries(self) -> Iterator[Found]:
        app = cast("WorkbenchApp", self.app)
        for action, keys, why_not in app.actions.everything():
            about = f"not now: {why_not}" if why_not else action.help or action.group
            yield Found(f"{action.title}  {keys}".rstrip(), about, partial(app.act, action.id))
        for name in sorted(app.available_themes):
            yield Found(f"Theme: {name}", "Colours of the screen", partial(setattr, app, "theme", name))


__all__ = ["Palette"]
