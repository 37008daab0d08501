"""View 9, Compare: where do two runs part?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from engine.divergence_result import Divergence
from sessions.diff_result import StageSearch
from sessions.errors import SessionError
from sessions.reader import Session
from workbench.actions import Action
from workbench.bench import News, Scene
from workbench.view import View
from workbench.views.compare_data import Comparison, Opposite, compare_at, kin_of
from workbench.views.compare_measuring import Measuring
from workbench.views.compare_search import Search, SearchError, Wanted
from workbench.views.compare_searches import HOW_TO_SEARCH, Searches
from workbench.views.compare_stages import LayerRows, StageRows
from workbench.views.compare_table import AlignedTokens, strips_of
from workbench.views.compare_text import OVER_TOP, compare_text, facts_of
from workbench.widgets.messages import Activated, CursorMoved
from workbench.widgets.sparkline import StepChart
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import TextPane

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp
    from workbench.comparebox import Choice

NARROW, COURSE_HEIGHT, COURSE_HEIGHT_BESIDE_STAGES = 100, 28, 44


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
        self.comparison: Comparison | str = ""
        self._opposite: Opposite | None = None
        self._key: object = None
        self._measuring: Measuring | None = None
        self.searches = Searches()
        self._shown: Wanted | None = None

    def compose(self) -> ComposeResult:
        yield TextPane(id="compare-facts", classes="framed")
        with Container(id="compare-body"):
            yield LineTable(id="compare-tokens", classes="framed")
            with Vertical(id="compare-right"):
                yield TextPane(id="compare-found", classes="framed")
                yield LineTable(id="compare-layers", classes="framed")
                yield LineTable(id="compare-stages", classes="framed")
        yield StepChart(id="compare-course", classes="framed", empty="Nothing is compared.")

    def on_mount(self) -> None:
        titles = {"facts": "compare", "tokens": "side by side", "found": "first differing stage",
                  "layers": "difference by layer", "stages": "stages", "course": "by position"}  # fmt: skip
        for name, title in titles.items():
            self.query_one(f"#compare-{name}").border_title = title
        if (path := getattr(self._app.source, "compare", None)) is not None:
            self.open_session(path)

    def on_unmount(self) -> None:
        self._stop()
        if self._opposite is not None and self._opposite.session is not None:
            self._opposite.session.close()

    # Panes

    @property
    def _app(self) -> WorkbenchApp:
        return cast("WorkbenchApp", self.app)

    @property
    def facts(self) -> TextPane:
        return self.query_one("#compare-facts", TextPane)

    @property
    def tokens(self) -> LineTable:
        return self.query_one("#compare-tokens", LineTable)

    @property
    def found(self) -> TextPane:
        return self.query_one("#compare-found", TextPane)

    @property
    def layer_pane(self) -> LineTable:
        return self.query_one("#compare-layers", LineTable)

    @property
    def stages(self) -> LineTable:
        return self.query_one("#compare-stages", LineTable)

    @property
    def course(self) -> StepChart:
        return self.query_one("#compare-course", StepChart)

    # Showing

    def show(self, scene: Scene, news: News) -> None:  # noqa: ARG002
        self._compare(scene)
        if isinstance(self.comparison, str):
            self._show_nothing(self.comparison)
        else:
            self._show_tokens(scene, self.comparison)
            self._show_search(scene)
        self._arrange()

    def _compare(self, scene: Scene) -> None:
        """Compare anew where the selection, the opposite or what was recorded is another."""
        count = len(scene.record.token_ids(scene.selection.request or ""))
        key = (scene.record.path, scene.record.branch, scene.selection.request, self._opposite, count)
        if key == self._key:
            return
        self._key = key
        before, self.comparison = self.comparison, compare_at(scene, self._opposite)
        if self._measuring is not None:
            self._measuring.stop()
        if not isinstance(self.comparison, str):
            if not isinstance(before, str) and (before.one, before.other) == (
                self.comparison.one,
                self.comparison.other,
            ):
                self.comparison.found.update(before.found)
            self._measure(self.comparison)

    def _measure(self, comparison: Comparison) -> None:
        """Compare distributions away from the screen; they come a few at a time."""
        measuring = self._measuring = Measuring(comparison)
        grew = partial(self.app.call_from_thread, self._grew, comparison)
        self.run_worker(partial(measuring.run, grew), name="compare", thread=True, exit_on_error=False)

    def _grew(self, comparison: Comparison) -> None:
        if comparison is self.comparison and self.is_mounted and self.display:
            self._show_found(comparison)

    def _show_found(self, comparison: Comparison) -> None:
        """What is known of distributions by now."""
        self.facts.set_lines(facts_of(comparison))
        partly = any(each.basis == "top 20" for each in comparison.found.values())
        self.tokens.border_subtitle = OVER_TOP if partly else ""
        self.tokens.refresh()
        self.course.refresh()

    def _show_nothing(self, why: str) -> None:
        self.facts.empty = self.tokens.empty = why
        self.tokens.border_subtitle = ""
        self.facts.set_lines([])
        for table in (self.tokens, self.layer_pane, self.stages):
            table.set_model(None)
        self.course.set_series(())

    def _show_tokens(self, scene: Scene, comparison: Comparison) -> None:
        self._show_found(comparison)
        self.tokens.set_model(AlignedTokens(comparison, scene.moment.step, scene.glyphs))
        self.course.set_series(strips_of(comparison))
        position = self._position(scene)
        if position is not None:
            self.tokens.show_cursor(position)
            self.course.show_cursor(position)

    def _position(self, scene: Scene) -> int | None:
        """The selected position; without one, where the tokens part."""
        if isinstance(self.comparison, str):
            return None
        at = scene.selection.position
        return self.comparison.parts_at if at is None else min(at, len(self.comparison) - 1)

    def _show_search(self, scene: Scene) -> None:
        wanted = self.wanted
        self.found.set_lines(self.searches.lines(wanted, _why_no_search(self)))
        answer = self.searches.answer(wanted)
        if answer is None or isinstance(answer[1], str) or answer[1].divergence is None:
            self._show_stages(None, None, scene)
        else:
            self._show_stages(answer[0], answer[1].divergence, scene)

    def _show_stages(self, of: Wanted | None, found: Divergence | None, scene: Scene) -> None:
        if of is not None and of == self._shown and self.stages.model is not None:
            return
        self._shown = of
        if found is None:
            self.layer_pane.set_model(None)
            self.stages.set_model(None)
            return
        layers, stages = LayerRows(found, scene.glyphs), StageRows(found, scene.glyphs)
        self.layer_pane.set_model(layers)
        self.layer_pane.show_cursor(layers.first_index)
        self.stages.set_model(stages)
        self.stages.show_cursor(stages.first_index or 0)
        self.stages.border_title = f"stages of row {found.position}"

    # Layout

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        self._arrange()

    def _arrange(self) -> None:
        """Leave out what there is no room for, or nothing to show in."""
        narrow, searched = self.size.width < NARROW, self.stages.model is not None
        comparing = not isinstance(self.comparison, str)
        self.set_class(narrow, "-narrow")
        self.set_class(searched, "-searched")
        self.facts.display = comparing and not (narrow and searched and self.size.height < COURSE_HEIGHT)
        self.query_one("#compare-right").display = comparing
        self.stages.display = searched
        self.layer_pane.display = searched and not narrow
        least = COURSE_HEIGHT_BESIDE_STAGES if searched else COURSE_HEIGHT
        self.course.display = comparing and self.size.height >= least

    @property
    def dropped(self) -> list[str]:
        if isinstance(self.comparison, str):
            return []
        wanted = [self.facts, self.course, *([self.layer_pane] if self.stages.model is not None else [])]
        return [str(pane.border_title) for pane in wanted if not pane.display]

    # Acting

    def ask(self) -> None:
        """Ask what to compare with."""
        from workbench.comparebox import CompareBox, newest_sessions

        scene, request = self.scene, self.scene.selection.request
        kin = [] if request is None else kin_of(scene.record.requests(), request)[:20]
        requests = [(row.request, _about(row.parent, row.at_position, row.prompt_tokens)) for row in kin]
        self.app.push_screen(CompareBox(requests, newest_sessions(scene.record.path)), self._chosen)

    def _chosen(self, choice: Choice | None) -> None:
        if choice is None:
            return
        if choice.session is not None:
            self.open_session(choice.session)
        else:
            self._take(Opposite(request=choice.request))

    def open_session(self, path: Path) -> None:
        """Put another session on the right."""
        try:
            session = Session.open(path)
        except SessionError as error:
            self.bench.say(str(error), problem=True)
            return
        self._take(Opposite(session))

    def _take(self, opposite: Opposite) -> None:
        self._stop()
        if self._opposite is not None and self._opposite.session is not None:
            self._opposite.session.close()
        self._opposite = opposite
        if self._app.desk is not None:
            self.show(self.scene, News.ALL)

    def go_to_first(self) -> None:
        if not isinstance(self.comparison, str) and self.comparison.parts_at is not None:
            self._select(self.comparison.parts_at)

    def _select(self, position: int) -> None:
        self.bench.select(replace(self.scene.selection, position=position))

    @property
    def command(self) -> list[str]:
        """What starts this program without a screen: the engine's command without its last word."""
        return [*self._app.source.command][:-1]

    @property
    def wanted(self) -> Wanted | None:
        """Which stages `d` searches now."""
        if isinstance(self.comparison, str):
            return None
        target = self.comparison.target(self.scene.selection.position)
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

    def _stop(self) -> None:
        self.searches.stop()
        if self._measuring is not None:
            self._measuring.stop()

    def back(self) -> bool:
        return self.searches.stop()

    def search(self, wanted: str, direction: int) -> str:
        if isinstance(self.comparison, str):
            return self.comparison
        texts = self.comparison.a.text
        at, ids = self._position(self.scene) or 0, self.comparison.ids_a
        order = range(at + 1, len(ids)) if direction > 0 else range(at - 1, -1, -1)
        position = next((index for index in order if wanted in texts(ids[index])), None)
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
        if self.scene.selection.step is not None:
            self.bench.seek(self.scene.selection.step)

    # Without a screen

    def text(self, scene: Scene, width: int) -> str:
        found = compare_at(scene, self._opposite)
        if not isinstance(found, str):
            Measuring(found).run_through()
        search = None if self._shown is None else self.searches.found[self._shown]
        said = search if isinstance(search, StageSearch) else None
        return compare_text(found, said, scene.moment.step, scene.glyphs, width)


def _about(parent: str | None, at: int | None, prompt_tokens: int) -> str:
    return f"a fork of {parent} at {at}" if parent is not None else f"{prompt_tokens} prompt tokens"


__all__ = ["CompareView"]
