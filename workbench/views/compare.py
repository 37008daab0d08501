"""View 9, Compare: where do two runs part?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual import events, on
from textual.app import ComposeResult

from sessions.diff_result import StageSearch
from sessions.errors import SessionError
from sessions.reader import Session
from workbench.actions import Action
from workbench.bench import News, Scene
from workbench.source import program_of
from workbench.view import View
from workbench.views.compare_data import Comparison, Opposite, about, compare_at, kin_of
from workbench.views.compare_kept import GROWING_S, Kept
from workbench.views.compare_layout import NARROW, left_out, shown
from workbench.views.compare_measuring import Measuring
from workbench.views.compare_panes import ComparePanes
from workbench.views.compare_search import Search, SearchError, Wanted
from workbench.views.compare_searches import HOW_TO_SEARCH, Searches
from workbench.views.compare_text import compare_text
from workbench.widgets.messages import Activated, CursorMoved

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp
    from workbench.comparebox import Choice


def _why_no_search(view: CompareView) -> str | None:
    if isinstance(view.comparison, str):
        return "there is nothing to compare"
    if not view.command:
        return "this program was not told how to start an engine"
    return None if view.wanted is not None else "no position that both chose from the same tokens is selected"


def _why_no_parting(view: CompareView) -> str | None:
    if isinstance(view.comparison, str):
        return "there is nothing to compare"
    return None if view.comparison.parts_at is not None else "the tokens are the same"


class CompareView(View):
    """Two requests side by side, how far apart they are, and which stage parts them."""

    view_name = "compare"
    number = 9
    title = "Compare"
    question = "where do two runs part?"
    help_text = (
        "The selected request on the left, and on the right the one that should agree with it: of another"
        " session, or of this one (a fork and its parent). Rows are aligned by position; = marks equal tokens, a"
        " cross the first difference, after which the contexts differ. KL and ranks compare the raw distributions"
        f" of positions that both chose from the same tokens. {HOW_TO_SEARCH}"
    )
    actions = (
        Action("compare.with", ("w",), "Choose what to compare with", "View", lambda view: view.ask(), "with"),
        Action(
            "compare.first", ("f",), "Go to the first difference", "View", lambda view: view.go_to_first(),
            "first difference", _why_no_parting,
        ),
        Action(
            "compare.stage", ("d",), "Find the first differing stage", "View", lambda view: view.search_stages(),
            "differing stage", _why_no_search, HOW_TO_SEARCH,
        ),
    )  # fmt: skip

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.kept = Kept()
        self.searches = Searches()
        self.all_panes = ComparePanes()

    def compose(self) -> ComposeResult:
        yield from self.all_panes.compose()

    def on_mount(self) -> None:
        self.all_panes.title()
        self.set_interval(GROWING_S, self._follow)
        if (path := getattr(self._app.source, "compare", None)) is not None:
            self.open_session(path)

    def on_unmount(self) -> None:
        self.searches.stop()
        self.kept.take(None)

    @property
    def comparison(self) -> Comparison | str:
        return self.kept.comparison

    # Panes

    @property
    def _app(self) -> WorkbenchApp:
        return cast("WorkbenchApp", self.app)

    # Showing

    def show(self, scene: Scene, news: News) -> None:  # noqa: ARG002
        pair, self._app.pair = self._app.pair, None
        if pair is not None:
            self.open_session(pair[1], left=pair[0])
            return
        if not self.kept.visit(scene):
            self.set_timer(GROWING_S, self._show_again)
        if isinstance(self.comparison, str):
            self.all_panes.show_nothing(self.comparison)
        else:
            self._measure(self.comparison)
            step = 0 if self.kept.apart else scene.moment.step
            self.all_panes.show_tokens(self.comparison, step, scene.glyphs, self._position(scene))
            self._show_search(scene)
        self._arrange()

    def _show_again(self) -> None:
        if self.is_mounted and self.display and self._app.desk is not None:
            self.show(self.scene, News.RECORD)

    def _follow(self) -> None:
        """Another session may grow while nothing happens in the one on the screen."""
        if self.display and self.kept.refresh():
            self._show_again()

    def _measure(self, comparison: Comparison) -> None:
        """Compare distributions away from the screen; they come a few at a time."""
        if (measuring := self.kept.to_measure()) is not None:
            grew = partial(self.app.call_from_thread, self._grew, comparison)
            self.run_worker(partial(measuring.run, grew), name="compare", thread=True, exit_on_error=False)

    def _grew(self, comparison: Comparison) -> None:
        if comparison is self.comparison and self.is_mounted and self.display:
            self.all_panes.show_found(comparison)

    def _position(self, scene: Scene) -> int | None:
        """The selected position; without one, where the tokens part."""
        if isinstance(self.comparison, str):
            return None
        at = self.kept.selected(scene)
        return self.comparison.parts_at if at is None else min(at, len(self.comparison) - 1)

    def _show_search(self, scene: Scene) -> None:
        wanted = self.wanted
        self.all_panes.found.set_lines(self.searches.lines(wanted, _why_no_search(self)))
        answer = self.searches.answer(wanted)
        if answer is None or isinstance(answer[1], str) or answer[1].divergence is None:
            self.all_panes.show_stages(None, None, scene.glyphs)
        else:
            self.all_panes.show_stages(answer[0], answer[1].divergence, scene.glyphs)

    # Layout

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        self._arrange()

    def _arrange(self) -> None:
        """Leave out what there is no room for, or nothing to show in."""
        self.set_class(self.size.width < NARROW, "-narrow")
        self.set_class(self.all_panes.searched, "-searched")
        comparing = not isinstance(self.comparison, str)
        for name, on_screen in shown(self.size, comparing=comparing, searched=self.all_panes.searched).items():
            self.query_one(f"#compare-{name}").display = on_screen

    @property
    def dropped(self) -> list[str]:
        comparing = not isinstance(self.comparison, str)
        names = left_out(self.size, comparing=comparing, searched=self.all_panes.searched)
        return [str(self.all_panes.by_name(name).border_title) for name in names]

    # Acting

    def ask(self) -> None:
        """Ask what to compare with."""
        from workbench.comparebox import CompareBox, newest_sessions

        scene, request = self.scene, self.scene.selection.request
        kin = [] if request is None else kin_of(scene.record.requests(), request)[:20]
        requests = [(row.request, about(row)) for row in kin]
        self.app.push_screen(CompareBox(requests, newest_sessions(scene.record.path)), self._chosen)

    def _chosen(self, choice: Choice | None) -> None:
        if choice is None:
            return
        if choice.session is not None:
            self.open_session(choice.session)
        else:
            self._take(Opposite(request=choice.request))

    def open_session(self, right: Path, left: Path | None = None) -> None:
        """Put another session on the right; one on the left, too, or the one on the screen."""
        try:
            session = Session.open(right)
            beside = None if left is None else Session.open(left)
        except SessionError as error:
            self.bench.say(str(error), problem=True)
            return
        self._take(Opposite(session, left=beside))

    def _take(self, opposite: Opposite) -> None:
        self.searches.stop()
        self.kept.take(opposite)
        if self._app.desk is not None:
            self.show(self.scene, News.ALL)

    def go_to_first(self) -> None:
        if not isinstance(self.comparison, str) and self.comparison.parts_at is not None:
            self._select(self.comparison.parts_at)

    def _select(self, position: int) -> None:
        if self.kept.apart:
            self.kept.position = position
            self.show(self.scene, News.SELECTION)
            return
        self.bench.select(replace(self.scene.selection, position=position))

    @property
    def command(self) -> list[str]:
        """What starts this program without a screen."""
        return program_of(self._app.source.command)

    @property
    def wanted(self) -> Wanted | None:
        """Which stages `d` searches now."""
        if isinstance(self.comparison, str):
            return None
        target = self.comparison.target(self.kept.selected(self.scene))
        return None if target is None else Wanted.of(self.comparison, target)

    def search_stages(self) -> None:
        """Start the search, in a process of its own."""
        if (wanted := self.wanted) is not None:
            search = self.searches.begin(self.command, wanted)
            self.run_worker(partial(self._search, search), name="search", thread=True, exit_on_error=False)
            self.show(self.scene, News.SELECTION)

    def _search(self, search: Search) -> None:
        """On a worker's thread."""
        tell = partial(self.app.call_from_thread, self._told, search)
        try:
            found: StageSearch | str | None = search.run(tell)
        except (SearchError, OSError) as error:
            found = str(error)
        if found is not None:
            self.app.call_from_thread(self._ended, search, found)

    def _told(self, search: Search, said: str) -> None:
        if search is self.searches.running and self.is_mounted:
            self.searches.progress = said
            self._show_search(self.scene)

    def _ended(self, search: Search, found: StageSearch | str) -> None:
        self.searches.ended(search, found)
        if self.is_mounted:
            self.show(self.scene, News.SELECTION)

    def back(self) -> bool:
        return self.searches.stop()

    def search(self, wanted: str, direction: int) -> str:
        if isinstance(self.comparison, str):
            return self.comparison
        position = self.comparison.find(wanted, self._position(self.scene) or 0, direction)
        if position is None:
            return f"request {self.comparison.one} has no token with {wanted!r} there"
        self._select(position)
        return f"{wanted!r} at position {position}"

    @on(CursorMoved, "#compare-tokens")
    @on(CursorMoved, "#compare-course")
    def _moved(self, message: CursorMoved) -> None:
        message.stop()
        if not isinstance(self.comparison, str):
            self._select(min(message.index, len(self.comparison.ids_a) - 1))

    @on(Activated, "#compare-tokens")
    def _activated(self, message: Activated) -> None:
        message.stop()
        if not self.kept.apart and self.scene.selection.step is not None:
            self.bench.seek(self.scene.selection.step)

    # Without a screen

    def text(self, scene: Scene, width: int) -> str:
        found = compare_at(scene, self.kept.opposite)
        if not isinstance(found, str):
            Measuring(found).run_through()
        shown = self.all_panes.shown
        search = None if shown is None else self.searches.found[shown]
        said = search if isinstance(search, StageSearch) else None
        return compare_text(found, said, scene.moment.step, scene.glyphs, width)


__all__ = ["CompareView"]
