"""The workbench's Textual app: the frame, the views in it, and who is told what is news.

What is not needed to paint the frame is imported after that, where it is used.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.filter import LineFilter
from textual.geometry import Size
from textual.screen import Screen

from engine import protocol as pr
from sessions.errors import SessionError
from workbench import frame
from workbench.action_book import ActionBook, default_keys
from workbench.actions import bindings
from workbench.added import Added
from workbench.asciimarks import AsciiMarks
from workbench.bench import EngineStatus, News, Scene
from workbench.body import Body
from workbench.clock import Clock
from workbench.commands import COMMANDS
from workbench.engine_link import EngineLink, Heard, Lost
from workbench.frame_lines import FrameLines
from workbench.inspections import Inspections
from workbench.messageline import MessageLine
from workbench.oneline import OneLine
from workbench.selection import Selection
from workbench.source import Live, Source
from workbench.stderr import kept_off_screen
from workbench.talk import Talk
from workbench.typing_ahead import TypingAhead
from workbench.view import View
from workbench.widgets.glyphs import GlyphChoice, glyphs_named
from workbench.widgets.messages import CursorMoved
from workbench.widgets.palette import THEMES, colours_for
from workbench.widgets.spans import Span
from workbench.widgets.textpane import TextPane
from workbench.widgets.timeline import Timeline

if TYPE_CHECKING:
    from textual.command import Provider

    from engine.plug_guard import PluginFailedError
    from workbench.desk import Desk
    from workbench.record import Record
    from workbench.shell import Shell

VIEW_SHEETS = sorted(Path(__file__).parent.glob("views/*.tcss"))
"""How each view lays its panes out; the panes' own sheet is stronger than a view's DEFAULT_CSS."""
REPAINTS_PER_S = 25
OPEN_AFTER_S = 0.01
"""The first paint comes first. A timer, because it also fires when a dialog has been opened meanwhile."""
LOOK_EVERY_S = 0.5
"""How often a recording that somebody else may be writing is looked at."""
GlyphWish = Literal["auto"] | GlyphChoice
LEAST_WIDTH, LEAST_HEIGHT = 60, 16
NOTHING_ADDED = Added()
SHORT_HEIGHT = 30


def _palette() -> type[Provider]:
    from workbench.palette import Palette

    return Palette


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
    COMMANDS = {_palette}  # noqa: RUF012
    TITLE = "workbench"
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        source: Source,
        *,
        glyphs: GlyphChoice = "unicode",
        theme: str | None = None,
        keymap: Mapping[str, str] | None = None,
        added: Added = NOTHING_ADDED,
    ) -> None:
        super().__init__()
        self.source = source
        self.added = added
        self.glyphs = glyphs_named(glyphs)
        self.use_command_palette = True
        self.actions = ActionBook(self, keymap or {})
        self.body = Body(added.views, id="body")
        self.desk: Desk | None = None
        self.talk = Talk(self)
        self.typing_ahead = TypingAhead()
        self.lines = FrameLines(self)
        self.inspections = Inspections(self.talk.look, self._why_no_look)
        self.fatal: pr.Fatal | None = None
        self.searched: dict[str, str] = {}  # what was looked for last, by view
        self.pair: tuple[Path, Path] | None = None  # two sessions that the Compare view is to take
        self._news = News(0)
        self._look = False
        self._pending = False
        self._painted = 0.0
        self._leaving = False
        for each in THEMES:
            self.register_theme(each)
        self.theme = theme or THEMES[0].name
        self.set_keymap(keymap or {})

    # -- what is on the screen -----------------------------------------------------------------------

    def get_default_screen(self) -> Screen[Any]:
        return MainScreen(id="main")

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return colours_for(self.current_theme)

    def get_line_filters(self) -> Sequence[LineFilter]:
        marks = [AsciiMarks()] if self.glyphs.name == "ascii" else []
        return [*super().get_line_filters(), *marks]

    def compose(self) -> ComposeResult:
        with Vertical(id="top", classes="frame"):
            yield OneLine(id="header", gap=2)
            yield OneLine(id="tabs", gap=frame.TAB_GAP)
        with self.body:
            yield TextPane(id="opening", empty="")
        with Vertical(id="bottom", classes="frame"):
            yield OneLine(id="selection")
            yield Timeline(id="timeline", empty="The timeline begins with the first step.")
            yield MessageLine(id="message")
            yield OneLine(id="footer", gap=2)
        room = f"The workbench needs {LEAST_WIDTH} columns and {LEAST_HEIGHT} lines: make the window larger."
        yield TextPane([room], id="tiny")

    def on_mount(self) -> None:
        self._fit(self.size)  # a terminal may tell its size before there is a screen
        self.lines.paint()
        self.set_timer(OPEN_AFTER_S, self._open_source)

    def on_resize(self, event: events.Resize) -> None:
        if self.drawable:
            self._fit(event.size)
            self.call_after_refresh(self.lines.paint)

    def _fit(self, size: Size) -> None:
        """Leave out what there is no room for."""
        self.main_screen.set_class(size.width < LEAST_WIDTH or size.height < LEAST_HEIGHT, "-tiny")
        self.main_screen.set_class(size.height < SHORT_HEIGHT, "-short")

    # -- opening -------------------------------------------------------------------------------------

    def _open_source(self) -> None:
        if isinstance(self.source, Live):
            self.talk.begin(self.source)
            self.show_opening()
        else:
            self.open_record(self.source.session)
            self.set_interval(LOOK_EVERY_S, self._look_again)

    def show_opening(self) -> None:
        """Say what is being done while the model loads."""
        assert isinstance(self.source, Live)
        name = Span(self.source.model.name, "title")
        self.main_screen.query_one("#opening", TextPane).set_lines(
            [name, "", Span(f"{self.engine.text} …", "dim")]
        )
        self.lines.paint()

    def open_record(self, path: Path) -> None:
        from workbench.desk import Desk
        from workbench.record import Record

        try:
            self.desk = Desk(Record.open(path), lambda: self.engine, self.inspections, self.glyphs)
        except SessionError as error:
            self.fail(pr.Fatal(error=str(error)))
            return
        if self.body.view is None:
            self.main_screen.query_one("#opening").remove()
            self.body.begin("compare" if getattr(self.source, "compare", None) else None)
        self.lines.paint()

    def reopen_record(self, live: Live) -> None:
        """Go on with the copy of the recording that is on the screen, at the branch that begins in it."""
        assert self.desk is not None
        before, self.desk = self.desk, None
        self.source = live
        self.inspections.start_anew()
        self.open_record(live.session)
        before.record.close()
        if self.desk is not None:
            self.desk.select(before.selection)
        self.note(News.ALL)

    def fail(self, fatal: pr.Fatal) -> None:
        """Nothing can be shown: leave, and let `run_app` say why."""
        self.fatal = fatal
        self.exit(2 if fatal.usage else 1)

    async def on_unmount(self) -> None:
        """The engine leaves one whole file when nobody reads it any more. Nothing is drawn from here on."""
        self._leaving = True
        if "shell" in self.__dict__:
            self.shell.close()
        if self.desk is not None:
            self.desk.record.close()
        await self.talk.close()

    # -- what views and commands ask -----------------------------------------------------------------

    @property
    def scene(self) -> Scene:
        assert self.desk is not None, "views are shown when there is a record"
        return self.desk.scene

    @property
    def engine(self) -> EngineStatus:
        return self.talk.status

    @property
    def link(self) -> EngineLink | None:
        return self.talk.link

    def _why_no_look(self) -> str | None:
        """Why no row on the screen can be looked at again; the engine knows only the branch it stands in."""
        desk, looking = self.desk, self.engine.state == "looking"
        if desk is not None and not desk.clock.newest and not looking and self.engine.why_no_look is None:
            newest = desk.branches.newest
            return f"this is branch {desk.record.branch}, and the engine stands in branch {newest}: G goes there"
        return self.engine.why_no_look

    @property
    def clock(self) -> Clock:
        return self.desk.clock if self.desk else Clock()

    @property
    def selection(self) -> Selection:
        return self.desk.selection if self.desk else Selection()

    def select(self, selection: Selection) -> None:
        if self.desk is not None:
            self.note(self.desk.select(selection))

    def seek(self, step: int, branch: int | None = None) -> None:
        if self.desk is not None:
            self.moved(self.desk.seek(step, branch))

    def moved(self, news: News) -> None:
        """Another moment is on the screen: what was said was about the one before."""
        if news:
            self.hush()
        self.note(news)

    def go_live(self) -> None:
        """Follow the run again, in the branch that goes on."""
        if self.desk is not None:
            self.moved(self.desk.go_live())

    def turn_to(self, branch: int, step: int | None = None) -> None:
        """Look at another branch: at its end, or at `step` of it."""
        if self.desk is not None:
            self.moved(self.desk.turn_to(branch, step))

    def shown_record(self) -> Record:
        """The record on the screen now."""
        return self.scene.record

    def look_now(self) -> None:
        """Take in at once what was recorded."""
        if self.desk is not None:
            self.note(self.desk.look())

    def look_soon(self) -> None:
        """The record has grown: look at it with the next paint."""
        self._look = True
        self.note(News.ENGINE)

    def move(self, how: Callable[[], bool]) -> None:
        """Move the clock by one of its methods."""
        if self.desk is not None:
            self.moved(self.desk.move(how))

    @cached_property
    def shell(self) -> Shell:
        """Who carries out lines of the debugger's language."""
        from workbench.shell import Shell

        return Shell(self)

    def walk(self, command: pr.Walking) -> None:
        if self.link is not None:
            self.link.send(command)

    def plugin_failed(self, failure: PluginFailedError) -> None:
        """A hook of a plugin failed on this screen."""
        self.say(f"{failure}; it is not asked again", problem=True)
        if self.engine.records:
            self.talk.send(
                pr.DisablePlugin(
                    plugin=failure.plugin, hook=failure.hook, why=failure.why, message=failure.message
                )
            )

    def say(self, text: str, *, problem: bool = False) -> None:
        if self.drawable:
            self.main_screen.query_one(MessageLine).say(text, problem=problem)

    def hush(self) -> None:
        """What was said last is no longer news."""
        if self.drawable:
            self.main_screen.query_one(MessageLine).hush()

    # -- views ---------------------------------------------------------------------------------------

    @property
    def drawable(self) -> bool:
        """Whether there is a screen: there is none any more while the app is left."""
        return not self._leaving and bool(self.screen_stack) and self.screen_stack[0].is_mounted

    @property
    def main_screen(self) -> Screen[Any]:
        """The screen under all dialogs."""
        return self.screen_stack[0]

    @property
    def view(self) -> View | None:
        """The view on the screen."""
        return self.body.view if self.drawable else None

    def open_view(self, name: str) -> None:
        if self.desk is not None:
            self.body.open(name)

    def open_pair(self, left: Path, right: Path) -> None:
        """Show two sessions beside each other, neither of which is the one on the screen."""
        self.pair = left, right
        self.open_view("compare")

    def leave_view(self) -> None:
        """Open the view before this one."""
        self.body.back()

    def on_body_turned(self) -> None:
        self.body.turning = False
        self.note(News.ALL)

    def on_view_rearranged(self) -> None:
        self.lines.paint()

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
        return not waiting and not self.body.turning

    def _paint(self) -> None:
        self._pending = False
        self._painted = time.monotonic()
        if self.desk is None or not self.drawable:
            return
        try:
            self._take_in(self.desk)
            if self.view is not None:
                news, self._news = self._news, News(0)
                self.view.show(self.desk.scene, news)
        except SessionError as error:
            self.say(str(error), problem=True)
        self.lines.paint()

    def _take_in(self, desk: Desk) -> None:
        if self._look:
            self._look = False
            self._news |= desk.look()
        if not desk.read_marks():
            self.call_later(self.note, News.RECORD)

    # -- actions -------------------------------------------------------------------------------------

    def act(self, action_id: str) -> None:
        """Do an action by its id, or say why not; one of a view that is not on the screen opens it first."""
        action = self.actions.find(action_id)
        if action is None:
            self._act_in_view(action_id)
        elif (why := action.why_not(self)) is not None:
            whole = f"{action.title}: not now, {why}"
            self.say(whole if len(whole) + 2 <= self.size.width else f"not now: {why}", problem=True)
        else:
            action.run(self)
            self.lines.paint()

    def _act_in_view(self, action_id: str) -> None:
        owner = self.actions.owner(action_id)
        if self.view is not None and self.view.view_name == owner:
            self.view.action_act(action_id)
        elif owner is not None:
            self.open_view(owner)
            self.call_after_refresh(self.act, action_id)

    def action_act(self, action_id: str) -> None:
        self.act(action_id)

    def on_key(self, event: events.Key) -> None:
        """Nobody has taken this key yet: before any binding, it is for the dialog that was opened meanwhile."""
        if self.typing_ahead.takes_back(event, self.screen):
            event.prevent_default()
            self.call_later(self.type_held)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded:
            if self.typing_ahead.holds(event, self.screen):
                return
            await self.type_held()
        await super().on_event(event)

    async def type_held(self) -> None:
        """Press the keys that were held for the dialog on the screen, as if it were now."""
        for event in self.typing_ahead.released(self.screen):
            await super().on_event(event)

    async def action_quit(self) -> None:
        self.act("quit")

    def on_one_line_clicked(self, message: OneLine.Clicked) -> None:
        self.act(message.action)

    def on_cursor_moved(self, message: CursorMoved) -> None:
        if isinstance(message.pane, Timeline):
            self.seek(message.index)

    # -- what is heard -------------------------------------------------------------------------------

    def _look_again(self) -> None:
        """A recording may still be growing."""
        if self.desk is not None:
            try:
                self.note(self.desk.look())
            except SessionError as error:
                self.say(str(error), problem=True)

    def on_heard(self, message: Heard) -> None:
        if self.drawable:
            self.talk.heard(message)

    def on_lost(self, message: Lost) -> None:
        if self.drawable:
            self.talk.lost(message)


def run_app(
    source: Source, *, glyphs: GlyphWish = "auto", theme: str | None = None, added: Added = NOTHING_ADDED
) -> int:
    """Show the workbench until it is left; the exit code. Says on stderr why it could not start."""
    from workbench.settings import Settings, SettingsError, read_settings, settings_path

    themes = _themes()
    try:
        path = settings_path()
        settings = read_settings(path, default_keys(), themes) if path.exists() else Settings()
    except SettingsError as error:
        return _refuse(str(error))
    theme = theme or settings.theme
    if theme is not None and theme not in themes:
        return _refuse(f"there is no theme {theme!r}: choose one of {', '.join(themes)}")
    chosen = glyphs if glyphs != "auto" else settings.glyphs or _glyphs_of_terminal()
    with kept_off_screen(source.log if isinstance(source, Live) else None):
        app = WorkbenchApp(source, glyphs=chosen, theme=theme, keymap=settings.keymap, added=added)
        code = app.run()
    if app.fatal is not None:
        print(app.fatal.error, file=sys.stderr)
    return code if code is not None else 0


def _themes() -> list[str]:
    from textual.theme import BUILTIN_THEMES

    return [each.name for each in THEMES] + list(BUILTIN_THEMES)


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 2


def _glyphs_of_terminal() -> GlyphChoice:
    """Unicode where the terminal's encoding has it."""
    encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
    return "unicode" if encoding.lower().startswith("utf") else "ascii"


__all__ = ["WorkbenchApp", "run_app"]
