"""The part of view 8 about the run's plugins: which there were, with which options, and what each did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from textual import on
from textual.app import ComposeResult
from textual.containers import Container

from engine.events import type_of
from engine.sanitise import display_text
from engine.wording import plural, sentence
from sessions.errors import SessionError
from sessions.header import PluginUsed
from sessions.plugin_deeds import SAID_BY, Deeds
from sessions.reader import Session
from workbench import astext
from workbench.bench import Scene
from workbench.views.quant_tables import Rows
from workbench.widgets.columns import Column
from workbench.widgets.messages import CursorMoved
from workbench.widgets.pane import LinePane
from workbench.widgets.spans import Line, Span
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import DetailPane, Fact

if TYPE_CHECKING:
    from workbench.added import AddedPage
    from workbench.app import WorkbenchApp

NO_PLUGINS = (
    "This run had no plugins, and this screen has none.\n"
    "record --plugin NAME, or workbench --plugin NAME, brings one; workbench plugins ls names them."
)
UNNAMED = "no event names it; what is done to weights, storage, order or a screen has none"
_DEEDS = {"logits_changed": "changed logits", "drafted": "drafted", "dropped": "dropped blocks"}


class PluginRows(Rows):
    """The run's plugins, then those that are only on on this screen."""

    columns: Sequence[Column] = (
        Column("plugin", least=10),
        Column("version", 8, priority=2),
        Column("options", least=12),
        Column("where", 6, priority=1),
        Column("what it did", least=16),
    )

    def __init__(self, used: Sequence[PluginUsed], pages: Sequence[AddedPage], deeds: Deeds, events: int) -> None:
        """`events` is how many were recorded, of which `deeds` may not have seen all."""
        self.used = used
        ran = {each.name for each in used}
        self.pages = [page for page in pages if page.plugin not in ran]
        self._deeds = deeds
        self._unnamed = UNNAMED if deeds.scanned >= events else f"nothing in the first {deeds.scanned:,} events"

    def __len__(self) -> int:
        return len(self.used) + len(self.pages)

    def name(self, index: int) -> str:
        at = index - len(self.used)
        return self.used[index].name if at < 0 else self.pages[at].plugin

    def row(self, index: int) -> Sequence[Line]:
        if index >= len(self.used):
            page = self.pages[index - len(self.used)]
            return Span(page.plugin, "strong"), Span(""), Span(""), Span("screen", "dim"), Span(page.about, "dim")
        each = self.used[index]
        off = each.name in self._deeds.disabled
        return (
            Span(display_text(each.name), "removed" if off else "strong"),
            Span(display_text(each.version), "dim"),
            Span(display_text(each.arguments) or "defaults", "text" if each.arguments else "faint"),
            Span("run", "dim"), Span(self.did(each.name), "bad" if off else "text"),
        )  # fmt: skip

    def did(self, name: str) -> str:
        """What a plugin did, in a few words."""
        found = self._deeds.of(name)
        said = ", ".join(f"{_DEEDS[kind]} {plural(found[kind], 'time')}" for kind in _DEEDS if kind in found)
        if name in self._deeds.disabled:
            return f"disabled in step {self._deeds.disabled[name].step:,}" + (f"; {said}" if said else "")
        return said or self._unnamed


class RunPart(Container):
    """A table of plugins over a page about the one under the cursor."""

    def __init__(self) -> None:
        super().__init__(id="run")
        self.list = LineTable(id="run-list", classes="framed", empty=NO_PLUGINS)
        self.page = DetailPane(id="run-page", classes="framed", empty="")
        self.deeds = Deeds()
        self._of: object = None
        self._counting = False
        self._stopped = False

    def compose(self) -> ComposeResult:
        yield self.list
        yield self.page

    def on_mount(self) -> None:
        self.list.border_title = "plugins of this run"
        self.page.border_title = "plugin"

    def on_unmount(self) -> None:
        self._stopped = True

    @property
    def _app(self) -> WorkbenchApp:
        return cast("WorkbenchApp", self.app)

    def on_screen(self) -> Iterator[LinePane]:
        return (pane for pane in self.query(LinePane) if pane.display)

    # Showing

    def show(self, scene: Scene) -> None:
        record = scene.record
        if record.path != self._of:
            self._of, self.deeds = record.path, Deeds()
        if record.about.plugins and self.deeds.scanned < record.event_count and not self._counting:
            self._counting = True
            count = partial(self._count, record.session, self.deeds)
            self.run_worker(count, name="plugins", thread=True, exit_on_error=False)
        self._fill(scene)

    def _count(self, session: Session, deeds: Deeds) -> None:
        """On a worker's thread, with a session of its own."""
        try:
            with session.reopen() as own:
                while not deeds.scan(own) and not self._stopped:
                    pass
        except SessionError:
            pass  # the file is damaged or gone: what was counted stays
        if not self._stopped:
            self.app.call_from_thread(self._counted)

    def _counted(self) -> None:
        self._counting = False
        if self.is_mounted and self.display and self._app.desk is not None:
            self._fill(self._app.scene)

    def _fill(self, scene: Scene) -> None:
        rows = PluginRows(scene.record.about.plugins, self._app.added.pages, self.deeds, scene.record.event_count)
        self.page.display = len(rows) > 0
        self.list.set_model(rows if len(rows) else None)
        if len(rows):
            self._fill_page(scene, rows)

    def _fill_page(self, scene: Scene, rows: PluginRows) -> None:
        index = min(self.list.cursor, len(rows) - 1)
        self.page.border_title = f"plugin {display_text(rows.name(index))}"
        self.page.set_facts(page_of(scene, rows, index, self.deeds))

    @on(CursorMoved, "#run-list")
    def _moved(self, message: CursorMoved) -> None:
        message.stop()
        if isinstance(rows := self.list.model, PluginRows):
            self._fill_page(self._app.scene, rows)


def plugins_text(scene: Scene, pages: Sequence[AddedPage], width: int) -> str:
    """The run's plugins as text, with what they did in the first part of a long run."""
    deeds = Deeds()
    complete = deeds.scan(scene.record.session)
    rows = PluginRows(scene.record.about.plugins, pages, deeds, scene.record.event_count)
    lines = [astext.heading("plugins of this run", width)]
    if not len(rows):
        return "\n".join([*lines, *astext.paragraphs(NO_PLUGINS.splitlines(), width)])
    if not complete:
        lines += astext.paragraphs([f"counted in the first {deeds.scanned:,} events"], width)
    lines += astext.table(rows, width)
    for index in range(len(rows)):
        lines += [astext.heading(display_text(rows.name(index)), width)]
        lines += astext.facts(page_of(scene, rows, index, deeds), width)
    return "\n".join(lines)


def page_of(scene: Scene, rows: PluginRows, index: int, deeds: Deeds) -> list[Fact]:
    """What there is to say of one plugin."""
    if index >= len(rows.used):
        return [Fact("on this screen", line or " ") for line in rows.pages[index - len(rows.used)].lines if line]
    each = rows.used[index]
    facts = [
        Fact("name", f"{display_text(each.name)} {display_text(each.version)}"),
        Fact("options", display_text(each.arguments) or "defaults"),
        Fact("comes from", display_text(each.source) or "–"),
        Fact("did", rows.did(each.name)),
    ]
    if each.sha256:
        facts.insert(3, Fact("SHA-256", each.sha256))
    if each.name in deeds.disabled:
        words = sentence(deeds.disabled[each.name], scene.record.token_text)
        facts.append(Fact("failed", Span(f"step {deeds.disabled[each.name].step:,}: {words}", "bad")))
    return [*facts, *_in_step(scene, each.name)]


def _in_step(scene: Scene, name: str) -> Iterator[Fact]:
    """What it did in the step under the cursor."""
    text = scene.record.token_text
    for row in scene.record.events_of(scene.moment.step):
        by = SAID_BY.get(type_of(row.event))
        if by is not None and getattr(row.event, by) == name:
            yield Fact(f"step {scene.moment.step:,}", sentence(row.event, text))


__all__ = ["NO_PLUGINS", "UNNAMED", "PluginRows", "RunPart", "page_of", "plugins_text"]
