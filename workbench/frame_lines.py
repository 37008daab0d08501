"""The lines around a view, filled from what the app knows: header, tabs, timeline, selection, hint, footer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench import frame
from workbench.messageline import MessageLine
from workbench.oneline import OneLine
from workbench.source import Live
from workbench.views.registry import VIEWS
from workbench.widgets.timeline import Timeline

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp


class FrameLines:
    """Draws the frame of one app."""

    def __init__(self, app: WorkbenchApp) -> None:
        self._app = app

    def paint(self) -> None:
        """Show what holds now; only what changed is drawn."""
        app, view = self._app, self._app.view
        if not app.drawable:
            return
        tabs = frame.tab_items((*VIEWS, *app.added.views), app.body.open_name, app.size.width)
        self._line("tabs").show_items(tabs)
        here = [*app.actions.of_app(), *app.actions.of_view(view)]
        self._line("footer").show_items(frame.footer_items(here))
        self._paint_hint()
        if app.desk is None:
            self._line("header").show_items(frame.opening_items(app.source, app.engine, app.glyphs))
            return
        scene = app.desk.scene
        self._line("header").show_items(frame.header_items(scene))
        self._line("selection").show_items(frame.selection_items(scene, view.dropped if view else ()))
        self._paint_timeline()

    def _paint_timeline(self) -> None:
        desk = self._app.desk
        assert desk is not None
        timeline = self._app.main_screen.query_one(Timeline)
        timeline.live_word = "LIVE" if isinstance(self._app.source, Live) else "END"
        timeline.set_model(desk.record.marks, step=desk.clock.step, live=desk.clock.live)
        timeline.set_flags(desk.flags())

    def _paint_hint(self) -> None:
        engine, desk = self._app.engine, self._app.desk
        halted = engine.stop is not None and desk is not None and desk.clock.live
        urgent = desk is None or halted or engine.state == "gone" or desk.moment.step == 0
        hint = frame.hint(engine, desk.scene if desk else None, self._app.size.width)
        self._app.main_screen.query_one(MessageLine).hint(hint, urgent=urgent)

    def _line(self, name: str) -> OneLine:
        return self._app.main_screen.query_one(f"#{name}", OneLine)


__all__ = ["FrameLines"]
