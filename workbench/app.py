"""The workbench's Textual app: the frame, the engine's messages, and who is told what is news."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.screen import Screen

from engine import protocol as pr
from sessions.errors import SessionError
from workbench import frame
from workbench.actions import Action, bindings, shown_key
from workbench.bench import EngineStatus, News, Scene
from workbench.clock import Clock
from workbench.commands import COMMANDS
from workbench.desk import Desk
from workbench.engine_link import NO_ENGINE, EngineLink
from workbench.inspections import Inspections
from workbench.oneline import Item, OneLine
from workbench.palette import Palette
from workbench.record import Record
from workbench.selection import Selection
from workbench.settings import Settings, SettingsError, read_settings, settings_path
from workbench.source import Live, Source
from workbench.stderr import kept_off_screen
from workbench.view import View
from workbench.views.registry import VIEWS
from workbench.widgets.glyphs import GlyphChoice, glyphs_named
from workbench.widgets.messages import CursorMoved
from workbench.widgets.palette import THEMES, colours_for
from workbench.widgets.spans import Span
from workbench.widgets.textpane import TextPane
from workbench.widgets.timeline import Timeline

VIEW_SHEETS = sorted(Path(__file__).parent.glob("views/*.tcss"))
REPAINTS_PER_S = 25
LOOK_EVERY_S = 0.5
"""How often a recording that somebody else may be writing is looked at."""
MESSAGE_S = 8.0
GlyphWish = Literal["auto"] | GlyphChoice
LEAST_WIDTH, LEAST_HEIGHT = 60, 16
SHORT_HEIGHT, TABS_WIDTH = 30, 96


class Heard(Message):
    """The engine said something; comes from the thread that listens to it."""

    def __init__(self, answer: pr.Answer) -> None:
        super().__init__()
        self.answer = answer

    def can_replace(self, message: Message) -> bool:
        """Of several reports on a run that goes on, the newest is enough."""
        return isinstance(message, Heard) and _goes_on(self.answer) and _goes_on(message.answer)


def _goes_on(answer: pr.Answer) -> bool:
    return isinstance(answer, pr.Progress) and answer.why == "running"


class Lost(Message):
    """The engine's process has ended."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


class MainScreen(Screen[None], inherit_bindings=False):
    """The one screen; dialogs lie over it."""

    ESCAPE_TO_MINIMIZE = False
    ALLOW_IN_MAXIMIZED_VIEW = ".frame"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "Next pane", show=False),
        Binding("shift+tab", "app.focus_previous", "Previous pane", show=False),
        Binding("ctrl+c", "screen.copy_text", "Copy selected text", show=False),
        *(replace(each, action=f"app.{each.action}") for each in bindings(COMMANDS)),
    ]


class WorkbenchApp(App[int]):
    """The workbench over a recorded session, or over an engine that it starts."""

    CSS_PATH: ClassVar[list[str | PurePath]] = ["widgets/widgets.tcss", "workbench.tcss", *VIEW_SHEETS]
    COMMANDS = {Palette}  # noqa: RUF012
    TITLE = "workbench"
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        source: Source,
        *,
        glyphs: GlyphWish = "auto",
        theme: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.settings = settings or Settings()
        self.glyphs = glyphs_named(_choose_glyphs(glyphs, self.settings))
        self.use_command_palette = True
        self.desk: Desk | None = None
        self.link: EngineLink | None = None
        self.inspections = Inspections(self._send, lambda: self.engine.why_not)
        self.fatal: pr.Fatal | None = None
        self._views: dict[str, View] = {}
        self._trail: list[str] = []  # views opened before this one, for going back
        self._open_name = VIEWS[0].view_name
        self._news = News(0)
        self._look = False
        self._pending = False
        self._painted = 0.0
        self._message: tuple[str, bool] | None = None
        self._message_timer: Any = None
        for each in THEMES:
            self.register_theme(each)
        self.theme = theme or self.settings.theme or THEMES[0].name
        self.set_keymap(self.settings.keymap)

    # -- what is on the screen -----------------------------------------------------------------------

    def get_default_screen(self) -> Screen[Any]:
        return MainScreen(id="main")

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return colours_for(self.current_theme)

    def compose(self) -> ComposeResult:
        with Vertical(id="top", classes="frame"):
            yield OneLine(id="header", gap=2)
            yield OneLine(id="tabs", gap=2)
        with Container(id="body"):
            yield TextPane(id="opening", empty="")
        with Vertical(id="bottom", classes="frame"):
            yield OneLine(id="selection")
            yield Timeline(id="timeline", empty="The timeline begins with the first step.")
            yield OneLine(id="message")
            yield OneLine(id="footer", gap=2)
        yield TextPane(["The workbench needs 60 columns and 16 lines: make the window larger."], id="tiny")

    def on_mount(self) -> None:
        self._paint_frame()
        self.call_after_refresh(self._open_source)

    def _open_source(self) -> None:
        if isinstance(self.source, Live):
            self.link = EngineLink(self.source, self._heard_on_thread, self._lost_on_thread)
            self._show_opening()
        else:
            self._open_record(self.source.session)
            self.set_interval(LOOK_EVERY_S, self._look_again)

    def _show_opening(self) -> None:
        assert isinstance(self.source, Live)
        text = f"{self.engine.text} …" if self.engine.state == "loading" else self.engine.text
        pane = self.query_one("#opening", TextPane)
        pane.set_lines([Span(self.source.model.name, "title"), "", Span(text, "dim")])
        self._paint_frame()

    def _open_record(self, path: Path) -> None:
        try:
            record = Record.open(path)
            self.desk = Desk(record, lambda: self.engine, self.inspections, self.glyphs)
        except SessionError as error:
            self._fail(pr.Fatal(error=str(error)))
            return
        self.query_one("#opening").remove()
        self._mount_view()
        self._paint_frame()

    # -- what views ask ------------------------------------------------------------------------------

    @property
    def scene(self) -> Scene:
        assert self.desk is not None, "views are shown when there is a record"
        return self.desk.scene

    @property
    def engine(self) -> EngineStatus:
        return self.link.status if self.link else NO_ENGINE

    def select(self, selection: Selection) -> None:
        if self.desk is not None:
            self.note(self.desk.select(selection))

    def seek(self, step: int) -> None:
        if self.desk is not None:
            self.note(self.desk.seek(step))

    def open_view(self, name: str) -> None:
        if self.desk is None or name == self._open_name:
            return
        self._trail = [*self._trail[-20:], self._open_name]
        self._switch(name)

    def say(self, text: str, *, problem: bool = False) -> None:
        self._message = (text, problem)
        if self._message_timer is not None:
            self._message_timer.stop()
        self._message_timer = self.set_timer(MESSAGE_S, self._hush)
        self._paint_message()

    def _hush(self) -> None:
        self._message = None
        self._paint_message()

    # -- views ---------------------------------------------------------------------------------------

    @property
    def view(self) -> View | None:
        """The view on the screen."""
        return self._views.get(self._open_name)

    def leave_view(self) -> None:
        """Open the view before this one."""
        if self._trail:
            self._switch(self._trail.pop())

    def _switch(self, name: str) -> None:
        self.screen.minimize()
        if self.view is not None:
            self.view.display = False
        self._open_name = name
        self._mount_view()
        self.note(News.ALL)
        self._paint_frame()

    def _mount_view(self) -> None:
        if (view := self.view) is not None:
            view.display = True
            self.call_after_refresh(self._focus_view)
            return
        made = next(each for each in VIEWS if each.view_name == self._open_name)
        self._views[self._open_name] = made(id=f"view-{made.view_name}")
        self.call_next(self._begin_view, self._views[self._open_name])

    async def _begin_view(self, view: View) -> None:
        await self.query_one("#body").mount(view)
        self._focus_view()
        self.call_after_refresh(self.note, News.ALL)  # panes know their size then

    def _focus_view(self) -> None:
        if self.view is not None and (pane := next(iter(self.view.panes()), None)) is not None:
            pane.focus()

    # -- painting ------------------------------------------------------------------------------------

    def note(self, news: News) -> None:
        """Something is news: paint it soon, and not more often than the eye can tell."""
        if not news:
            return
        self._news |= news
        if not self._pending:
            self._pending = True
            wait = self._painted + 1 / REPAINTS_PER_S - time.monotonic()
            if wait > 0:
                self.set_timer(wait, self._paint)
            else:
                self.call_next(self._paint)

    @property
    def at_rest(self) -> bool:
        """Whether everything that is news has been painted."""
        waiting = self._pending or bool(self._news) or self._look
        return not waiting and (self.desk is None or (self.view is not None and self.view.is_mounted))

    def _paint(self) -> None:
        self._pending = False
        self._painted = time.monotonic()
        desk = self.desk
        if desk is None:
            return
        try:
            if self._look:
                self._look = False
                self._news |= desk.look()
            if not desk.read_marks():
                self.call_later(self.note, News.RECORD)
            if self.view is not None and self.view.is_mounted:
                news, self._news = self._news, News(0)
                self.view.show(desk.scene, news)
        except SessionError as error:
            self.say(str(error), problem=True)
        self._paint_frame()

    def _paint_frame(self) -> None:
        tabs = frame.tab_items(VIEWS, self._open_name, short=self.size.width < TABS_WIDTH)
        self.query_one("#tabs", OneLine).show_items(tabs)
        self.query_one("#footer", OneLine).show_items(frame.footer_items(self._footer_actions()))
        self._paint_message()
        if self.desk is None:
            self.query_one("#header", OneLine).show_items(
                frame.opening_items(self.source, self.engine, self.glyphs)
            )
            return
        scene = self.desk.scene
        self.query_one("#header", OneLine).show_items(frame.header_items(scene))
        self.query_one("#selection", OneLine).show_items(frame.selection_items(scene, self._dropped))
        clock, timeline = self.desk.clock, self.query_one(Timeline)
        timeline.live_word = "LIVE" if self.link is not None else "END"
        timeline.set_model(self.desk.record.marks, step=clock.step, live=clock.live)

    def _paint_message(self) -> None:
        """What was said; else what to press. On a short screen the line is shared with the selection."""
        if self._message is None:
            text = frame.hint(self.engine, self.desk.scene if self.desk else None)
            items = [Item(Span(text, "dim"))]
            wanted = self.desk is None or self.engine.state == "gone" or self.desk.moment.step_row is None
        else:
            text, problem = self._message
            items, wanted = [Item(Span(text, "bad" if problem else "accent"))], True
        self.query_one("#message", OneLine).show_items(items)
        self.screen_stack[0].set_class(wanted, "-message")

    @property
    def _dropped(self) -> list[str]:
        """Panes of the view that there is no room for."""
        return self.view.dropped if self.view is not None and self.view.is_mounted else []

    def on_resize(self, event: events.Resize) -> None:
        tiny = event.size.width < LEAST_WIDTH or event.size.height < LEAST_HEIGHT
        self.screen_stack[0].set_class(tiny, "-tiny")
        self.screen_stack[0].set_class(event.size.height < SHORT_HEIGHT, "-short")
        self.call_after_refresh(self._paint_frame)

    # -- actions -------------------------------------------------------------------------------------

    def act(self, action_id: str) -> None:
        """Do an action by its id, or say why not."""
        action = self._action(action_id)
        if action is None:
            owner = next(view for view in VIEWS if any(each.id == action_id for each in view.actions))
            self.open_view(owner.view_name)
            self.call_after_refresh(self.run_action_of, action_id)
        elif (why := action.why_not(self)) is not None:
            self.say(f"{action.title}: not now, {why}", problem=True)
        else:
            action.run(self)
            self._paint_frame()

    def action_act(self, action_id: str) -> None:
        self.act(action_id)

    def _action(self, action_id: str) -> Action[WorkbenchApp] | None:
        return next((action for action in COMMANDS if action.id == action_id), None)

    def keys_of(self, action: Action[Any]) -> str:
        """The keys of an action as they are typed, after the person's key map."""
        mapped = self.settings.keymap.get(action.id)
        return (
            " ".join(map(shown_key, mapped.split(",")))
            if mapped
            else " ".join("esc" if key == "escape" else key for key in action.keys)
        )

    def all_actions(self) -> Iterator[tuple[Action[Any], str, str | None]]:
        """Every action of the app and of all views, its keys, and why it cannot be done now."""
        for action in COMMANDS:
            yield action, self.keys_of(action), action.why_not(self)
        for kind in VIEWS:
            here = self.view if isinstance(self.view, kind) else None
            for own in kind.actions:
                yield own, self.keys_of(own), own.why_not(here) if here else None

    def actions_here(self) -> Iterator[tuple[Action[Any], str, str | None]]:
        others = {action.id for kind in VIEWS if not isinstance(self.view, kind) for action in kind.actions}
        return (entry for entry in self.all_actions() if entry[0].id not in others)

    def _footer_actions(self) -> list[tuple[Action[Any], str, str | None]]:
        entries = [entry for entry in self.actions_here() if entry[0].brief]
        return [(action, keys.split(" ")[0], why) for action, keys, why in entries]

    def on_one_line_clicked(self, message: OneLine.Clicked) -> None:
        self.run_action_of(message.action)

    def run_action_of(self, action_id: str) -> None:
        """Do an action of the app or of the open view."""
        if self._action(action_id) is None and self.view is not None:
            self.view.action_act(action_id)
        else:
            self.act(action_id)

    @property
    def clock(self) -> Clock:
        return self.desk.clock if self.desk else _STILL

    @property
    def selection(self) -> Selection:
        return self.desk.selection if self.desk else Selection()

    def move(self, how: Callable[[], bool]) -> None:
        """Move the clock by one of its methods."""
        if self.desk is not None:
            self.note(self.desk.move(how))

    async def action_quit(self) -> None:
        self.act("quit")

    # -- what is heard -------------------------------------------------------------------------------

    def on_cursor_moved(self, message: CursorMoved) -> None:
        if isinstance(message.pane, Timeline):
            self.seek(message.index)

    def _look_again(self) -> None:
        """A recording may still be growing."""
        if self.desk is not None:
            self.note(self.desk.look())

    def _send(self, command: pr.Command) -> int:
        return self.link.send(command) if self.link else 0

    def _heard_on_thread(self, answer: pr.Answer) -> None:
        self.post_message(Heard(answer))

    def _lost_on_thread(self, code: int) -> None:
        self.post_message(Lost(code))

    def on_heard(self, message: Heard) -> None:
        answer = message.answer
        if self.link is None:
            return
        self.link.heard(answer)
        match answer:
            case pr.Loading():
                self._show_opening()
            case pr.Ready(session=session):
                self._open_record(Path(session))
            case pr.Fatal():
                self._fail(answer)
            case pr.Inspection():
                self.inspections.answered(answer)
                self.note(News.INSPECTION)
            case pr.Reply():
                self._replied(answer)
            case pr.Progress():
                self._look = True
                self.note(News.ENGINE)
                if answer.error:
                    self.say(answer.error, problem=True)

    def _replied(self, reply: pr.Reply) -> None:
        if self.inspections.answered(reply):
            self.note(News.INSPECTION)
        elif reply.error:
            self.say(reply.error, problem=True)
        else:
            self._look = True
            self.note(News.ENGINE)
        if reply.requests:
            self.say(f"submitted as {', '.join(reply.requests)}")

    def on_lost(self, message: Lost) -> None:
        if self.link is None or self.fatal is not None:
            return
        self.link.ended(message.code)
        self.inspections.forget()
        if self.desk is None:
            self._fail(pr.Fatal(error=f"the engine ended before the first step: {self.engine.text}", usage=False))
            return
        self._look = True
        self.say(f"the engine is gone: {self.engine.text}", problem=True)
        self.note(News.ENGINE)

    def _fail(self, fatal: pr.Fatal) -> None:
        """Nothing can be shown: leave, and let `run_app` say why."""
        self.fatal = fatal
        self.exit(2 if fatal.usage else 1)

    async def on_unmount(self) -> None:
        """The engine leaves one whole file when nobody reads it any more."""
        if self.desk is not None:
            self.desk.record.close()
        if self.link is not None:
            await asyncio.to_thread(self.link.close)


_STILL = Clock()


def _choose_glyphs(wish: GlyphWish, settings: Settings) -> GlyphChoice:
    """What was asked for, else what is set, else Unicode where the terminal's encoding has it."""
    if wish != "auto":
        return wish
    encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
    return settings.glyphs or ("unicode" if encoding.lower().startswith("utf") else "ascii")


def action_ids() -> list[str]:
    """Every action a key map may name."""
    return [action.id for action in (*COMMANDS, *(each for view in VIEWS for each in view.actions))]


def run_app(source: Source, *, glyphs: GlyphWish = "auto", theme: str | None = None) -> int:
    """Show the workbench until it is left; the exit code. Says on stderr why it could not start."""
    from textual.theme import BUILTIN_THEMES

    themes = [each.name for each in THEMES] + list(BUILTIN_THEMES)
    try:
        settings = read_settings(settings_path(), action_ids(), themes)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if theme is not None and theme not in themes:
        print(f"there is no theme {theme!r}: choose one of {', '.join(themes)}", file=sys.stderr)
        return 2
    app = WorkbenchApp(source, glyphs=glyphs, theme=theme, settings=settings)
    with kept_off_screen(source.log if isinstance(source, Live) else None):
        code = app.run()
    if app.fatal is not None:
        print(app.fatal.error, file=sys.stderr)
    return code if code is not None else 0


__all__ = ["WorkbenchApp", "action_ids", "run_app"]
