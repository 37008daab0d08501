"""Shell: carries out the debugger's lines. What is for the engine goes there, what is past is read here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from engine import protocol as pr
from engine.debug import commands as do
from engine.debug.errors import DebugError
from engine.debug.registry import Line, help_lines, read_line
from engine.debug.said import PointInfo, Shown
from workbench.commandline import Answer
from workbench.commands import bookmarks, forks, going_back
from workbench.commands.added import run_added
from workbench.commands.going_on import when_engine_goes, why_no_going
from workbench.commands.inside import when_over
from workbench.forking import ForkHint
from workbench.history import History

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp
    from workbench.past import Past


class Shell:
    """Lines in, answers on the screen. `points` are those of the engine, or of the recording without one."""

    def __init__(self, app: WorkbenchApp) -> None:
        self._app = app
        self.points: Sequence[PointInfo] = ()

    @cached_property
    def history(self) -> History:
        return History.of_user()

    @cached_property
    def past(self) -> Past:
        """Who answers from the record."""
        from workbench.past import Past

        return Past(self._app)

    def close(self) -> None:
        """The screen is left."""
        if "past" in self.__dict__:
            self.past.close()

    def run(self, text: str, answered: Answer) -> None:
        """Carry a line out; `answered` hears what is wrong with it, or None."""
        if self._is_added(text, answered):
            return
        try:
            line = read_line(text)
        except DebugError as error:
            answered(str(error))
            return
        if (why := self._why_not(line)) is not None:
            answered(f"{line.spec.name}: {why}")
        elif line.where in ("shell", "past"):
            self._here(line, answered)
        elif self._is_for_record(line):
            self.past.answer(line, answered)
        else:
            self._engine(line, answered)

    def _is_added(self, text: str, answered: Answer) -> bool:
        """Carry out what a plugin brought: its command, or `panel NAME`."""
        app = self._app
        word, _, rest = text.strip().partition(" ")
        command = app.added.command(word)
        if command is None and word != "panel":
            return False
        if app.desk is None:
            answered("nothing has been recorded yet")
        elif command is not None:
            answered(None)
            run_added(app, command, rest.strip())
        elif app.added.view(rest.strip()) is None:
            names = ", ".join(view.name for view in app.added.views)
            which = f"there is no panel {rest.strip()!r}: use {names}"
            answered(which if names else "no plugin has a panel here")
        else:
            answered(None)
            app.open_view(rest.strip())
        return True

    # -- who carries it out --------------------------------------------------------------------------

    def _why_not(self, line: Line) -> str | None:
        app = self._app
        if app.desk is None:
            return "nothing has been recorded yet"
        if line.where not in ("run", "change"):
            return None
        if (why := why_no_going(app)) is not None or line.where == "run":
            return why
        if isinstance(line.command, do.Rewind) and (why := going_back.why_under_way(app)) is not None:
            return why
        return forks.why_other_branch(app)

    def _is_for_record(self, line: Line) -> bool:
        """Values of the past, and points where there is no engine to keep them."""
        engine = self._app.engine
        lists = isinstance(line.command, do.Info) and line.command.topic == "breakpoints"
        if line.where == "points" or lists:
            return not engine.records
        return line.where == "look" and not (engine.records and self._app.clock.live)

    def _here(self, line: Line, answered: Answer) -> None:
        app = self._app
        match line.command:
            case do.ReverseContinue() | do.Last():
                self.past.answer(line, answered)
                return
            case do.Help(about=about):
                self._help(about, answered)
                return
            case do.Quit():
                answered(None)
                app.act("quit")
            case do.Select(whose=whose):
                answered(self._select(whose))
            case do.Goto(step=step, name=name):
                answered(self._goto(step, name))
            case do.LookBranch(branch=None):
                answered(None)
                self.show(
                    [going_back.branch_words(app, row.branch) for row in app.scene.branches.rows], "branches"
                )
            case do.LookBranch(branch=int(branch)):
                found = app.scene.branches.has(branch)
                answered(None if found else f"there is no branch {branch}: `branch` lists them")
                if found:
                    going_back.turn_to_branch(app, branch)
            case do.ReverseStep(count=count):
                answered(None if app.clock.step else "this is the first step")
                app.seek(app.clock.step - count)
            case do.Bookmark(name=name):
                assert app.desk is not None
                answered(None)
                bookmarks.bookmark(app, name or app.desk.bookmarks.new_name())
            case do.Bookmarks():
                answered(bookmarks.why_no_bookmarks(app))
                app.act("bookmarks")

    def _help(self, about: str | None, answered: Answer) -> None:
        try:
            lines = help_lines(about)
        except DebugError as error:
            answered(str(error))
        else:
            answered(None)
            self.show(lines, "help")

    def _select(self, whose: do.Whose) -> str | None:
        app = self._app
        if app.scene.record.request(whose.request) is None:
            return f"there is no request {whose.request} in this branch"
        app.select(replace(app.selection, request=whose.request, position=whose.position))
        return None

    def _goto(self, step: int | None, name: str | None) -> str | None:
        app = self._app
        assert app.desk is not None
        if step is not None:
            if not 0 <= step <= app.clock.last_step:
                return f"there is no step {step} in branch {app.clock.branch}: it has 0 to {app.clock.last_step}"
            app.seek(step)
        elif name == "start":
            app.seek(0)
        elif name == "end":
            app.go_live()
        elif (mark := app.desk.bookmarks.find(name or "")) is not None:
            bookmarks.go_to(app, mark)
        else:
            return f"there is no bookmark {name!r}: `bookmarks` lists them"
        return None

    # -- the engine ----------------------------------------------------------------------------------

    def _engine(self, line: Line, answered: Answer) -> None:
        app = self._app
        match line.command:
            case do.Next(count=count) if not app.clock.live:
                answered(None)
                app.move(lambda: app.clock.seek(app.clock.step + count))
            case do.Fork(whose=None, token=None, prompt_end=None, settings=(), scales=()):
                answered(None)
                when_engine_goes(app, lambda: forks.ask_fork(app, ForkHint()))
            case do.Rewind(step=step, exact=exact):
                answered(None)
                going_back.ask_rewind_to(app, step, exact=exact)
            case _ if line.where in ("run", "change"):
                if app.engine.state == "looking":
                    answered(None)
                when_engine_goes(app, lambda: self._do(line, answered))
            case _:
                self._do(line, answered)

    def _do(self, line: Line, answered: Answer) -> None:
        """Tell the engine a line of the language."""
        app = self._app
        if line.where == "change":
            answered = when_over(app, answered)

        def take(answer: pr.Answer) -> None:
            if isinstance(answer, pr.Done):
                self.points = answer.points
                if answer.lacks and isinstance(line.command, do.Print | do.Assert):
                    self.past.answer(line, answered, otherwise=answer.error)
                    return
                answered(answer.error)
                if answer.error is None:
                    self.answer(answer.shown, line.text.strip())
            else:
                answered(getattr(answer, "error", None) or "the engine gave no answer")

        chosen = app.selection
        app.talk.send(pr.Do(line=line.text, request=chosen.request, position=chosen.position), take)

    # -- answers -------------------------------------------------------------------------------------

    def answer(self, shown: Shown, title: str) -> None:
        """Put an answer on the screen: lines to read, a place to go to, something to select."""
        app = self._app
        app.look_soon()
        if shown.goto is not None:
            branch, step = shown.goto
            app.seek(step, branch)
        if shown.select is not None:
            request, position = shown.select
            app.select(replace(app.selection, request=request, position=position))
        if shown.stop is not None and shown.stop.request is not None:
            app.select(replace(app.selection, request=shown.stop.request, position=shown.stop.position))
        self.show(shown.lines, title)  # last: moving takes away what was said before

    def show(self, lines: Sequence[str], title: str) -> None:
        """One line goes to the message line, more of them over the screen."""
        from workbench.chooser import Page

        if len(lines) == 1:
            self._app.say(lines[0])
        elif lines:
            self._app.push_screen(Page(title, lines))

    def stopped(self, stopped: pr.Stopped) -> None:
        """A point has halted the run: go there, and select what it is about."""
        app, stop = self._app, stopped.stop
        self.points = stopped.points
        app.hush()  # the frame says why it stopped, for as long as it stands there
        app.look_now()
        app.go_live()
        if app.desk is not None:
            app.desk.stops.append((stop.branch, stop.step))
        chosen = app.selection
        if stop.request is not None:
            chosen = replace(chosen, request=stop.request, position=stop.position)
        if stop.layer is not None and stop.layer >= 0:
            chosen = replace(chosen, layer=stop.layer)
        app.select(chosen)
        self.show([line for shown in stopped.shown for line in shown.lines], stopped.sentence)
        if stop.when == "inside" and app.link is not None:
            app.link.send(pr.LookStage(request=stop.request))


__all__ = ["Shell"]
