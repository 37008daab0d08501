"""Carries out a script on an engine in this process, and lets the run go on to its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine.debug import commands as do
from engine.debug.changing import Means
from engine.debug.console import AssertionFailedError, Console, Going
from engine.debug.debugger import Debugger
from engine.debug.errors import LacksError
from engine.debug.hosting import debugger_on
from engine.debug.points import Point
from engine.debug.registry import Line, help_lines
from engine.debug.said import Shown, Stop
from engine.engine import StepFailedError
from engine.host import Opened
from sessions.debug.console import Cursor, RecordConsole
from sessions.reader import Session
from workbench.cli.console import say
from workbench.cli.errors import CommandError
from workbench.cli.script import Script, ScriptLine
from workbench.cli.script_output import ScriptOutput


@dataclass(slots=True)
class ScriptRun:
    """One run with a script. `wanted` says that the user wants it to end."""

    opened: Opened
    script: Script
    output: ScriptOutput
    wanted: Callable[[], bool]
    failures: list[str] = field(default_factory=list)
    failed: bool = False  # whether an assertion did not hold
    _debugger: Debugger = field(init=False)
    _console: Console = field(init=False)
    _cursor: tuple[int, int] | None = None  # branch and step of the past that is looked at
    _session: Session | None = None
    _record: RecordConsole | None = None
    _quit: bool = False

    def __post_init__(self) -> None:
        opened = self.opened
        means = Means(opened.encode, opened.encode_text, opened.flush, self._after_rewind)
        self._debugger = debugger_on(opened.engine, means, opened.token_text)
        self._console = Console(self._debugger, means)
        for condition in self.script.conditions:
            self._debugger.add_check(Point(0, "assert", condition))

    def run(self) -> None:
        """Carry out the script, then step until no request is left. CommandError for a command that can't be."""
        try:
            for line in self.script.lines:
                if self._quit or self.wanted():
                    break
                self._carry_out(line)
            if not self._quit:
                self._cursor = None
                while self._go(math.inf) is not None and not (self.wanted() or self._quit):
                    pass
        finally:
            if self._session is not None:
                self._session.close()

    def _carry_out(self, at: ScriptLine) -> None:
        try:
            self._obey(at.line)
        except AssertionFailedError as error:
            self.failed = True
            self.output.assertion(at.line.text.strip(), f"{at.where}: {error}")
        except (ValueError, RuntimeError) as error:
            raise CommandError(f"{at.where}: {error}") from error

    def _obey(self, line: Line) -> None:
        text, command, where = line.text.strip(), line.command, line.where
        match command:
            case do.Quit():
                self._quit = True
                return
            case do.Help(about=about):
                self.output.shown(text, Shown(help_lines(about)))
                return
        if where == "past" or (where == "look" and self._cursor is not None):
            self.output.shown(text, self._look_back(command))
            return
        if where == "run":
            self._cursor = None
            self._feed()
        answer = self._answer(command)
        if isinstance(answer, Going):
            if self._go(answer.steps) is None and not self.wanted():
                self.output.shown(text, Shown((self._standing,)))
        elif answer.stop is not None:
            self.output.stop(answer.stop)
        elif answer.lines or answer.values:
            self.output.shown(text, answer)

    @property
    def _standing(self) -> str:
        engine = self.opened.engine
        live = engine.busy or engine.begun is not None
        return self._debugger.standing if live else f"no request is left, after step {engine.state.step}"

    def _answer(self, command: do.Command) -> Shown | Going:
        """By the engine; what it has no longer, such as a token of an earlier step, by the record."""
        try:
            return self._console.carry_out(command)
        except LacksError as lacking:
            if not isinstance(command, do.Print | do.Assert):
                raise
            try:
                return self._look_back(command)
            except LacksError:
                raise lacking from None
            finally:
                self._cursor = None

    # -- running -------------------------------------------------------------------------------------

    def _go(self, steps: float) -> Stop | None:
        """Step until something stops the run, `steps` are taken, or nobody is live; the latest stop."""
        latest: Stop | None = None
        while steps > 0 and not self.wanted():
            steps -= 1
            stop, over = self._step()
            if stop is not None:
                latest = stop
                steps = self._stopped(stop)
            elif over:
                self._debugger.give_up_own()
                return None
        return latest

    def _step(self) -> tuple[Stop | None, bool]:
        """What halted a step, and whether nobody is live."""
        debugger, engine = self._debugger, self.opened.engine
        self._feed()
        over = False
        try:
            over = debugger.step() is None and engine.begun is None
        except StepFailedError as error:
            self.failures.append(str(error))
        for failed in debugger.take_failed():
            self.failed = True
            self.output.failed(failed)
        return debugger.stop, over

    def _feed(self) -> None:
        if self.opened.engine.begun is None:
            self.opened.feeder.feed(self.opened.engine)

    def _stopped(self, stop: Stop) -> float:
        """Tell of a stop and carry out its point's commands; the steps that these let follow."""
        self._console.stopped(stop)
        self.output.stop(stop)
        for text in self._debugger.stop_commands:
            try:
                answer = self._console.line(text)
            except AssertionFailedError as error:
                self.failed = True
                self.output.assertion(text, str(error))
                continue
            except (ValueError, RuntimeError) as error:
                say(f"{text}: {error}")
                return 0
            if isinstance(answer, Going):
                return answer.steps
            self.output.shown(text, answer)
        return 0

    # -- looking back --------------------------------------------------------------------------------

    def _look_back(self, command: do.Command) -> Shown:
        record, state = self._opened_record(), self.opened.engine.state
        assert self._session is not None
        if self._cursor is None:
            self._cursor = (state.branch, self._session.last_step(state.branch))
        whose = self._console.selected
        cursor = Cursor(*self._cursor, *((None, None) if whose is None else (whose.request, whose.position)))
        shown = record.carry_out(command, cursor, self._debugger.points.infos)
        if shown.goto is not None:
            self._cursor = shown.goto
        if shown.select is not None:
            self._console.selected = do.Whose(*shown.select)
        return shown

    def _opened_record(self) -> RecordConsole:
        """A reader of the session that is being written."""
        self.opened.flush()
        if self._session is None or self._record is None:
            self._session = Session.open(Path(self.opened.session))
            self._record = RecordConsole(self._session, progress=say)
        self._session.refresh()
        return self._record

    def _after_rewind(self) -> None:
        self._cursor = None
        self.opened.feeder.rewind(self.opened.engine)
        self.opened.flush()
