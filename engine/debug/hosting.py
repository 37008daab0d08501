"""The debugger of an engine that serves a client over the control channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from engine import protocol as pr
from engine.debug import commands as do
from engine.debug.changing import Means
from engine.debug.checker import Known
from engine.debug.console import Console, Going
from engine.debug.debugger import Debugger
from engine.debug.errors import DebugError, LacksError
from engine.debug.registry import Line, read_line
from engine.debug.said import Shown, Stop, sentence
from engine.engine import Engine


def debugger_on(engine: Engine, means: Means, text_of: Callable[[int], str]) -> Debugger:
    """A debugger that knows the sizes of its model."""
    limits, blocks = engine.limits, engine.state.blocks.num_blocks
    return Debugger(engine, text_of, Known(limits.layers, blocks, limits.vocab_size, means.encode_text))


@dataclass(frozen=True, slots=True)
class Answered:
    """The reply to a line, and how many steps it lets the engine take: None leaves that as it is."""

    done: pr.Done
    steps: float | None = None


@dataclass(slots=True)
class HostedDebugger:
    """Answers `Do`, and tells of stops. `flush` makes what was changed readable in the session."""

    debugger: Debugger
    means: Means
    flush: Callable[[], None]
    _console: Console = field(init=False)

    def __post_init__(self) -> None:
        self._console = Console(self.debugger, self.means)

    def waits(self, command: pr.Do) -> bool:
        """Whether the line has to wait until the step under way is over."""
        try:
            return self.debugger.engine.begun is not None and read_line(command.line).where == "change"
        except DebugError:
            return False

    def answer(self, command: pr.Do) -> Answered:
        """Carry out a line. What is wrong with it is the reply's error."""
        self._console.selected = None if command.request is None else do.Whose(command.request, command.position)
        try:
            line = read_line(command.line)
            answer = self._console.carry_out(line.command)
            if line.where == "change":
                self.flush()
        except (ValueError, RuntimeError) as error:
            lacks = isinstance(error, LacksError)
            return Answered(self._done(command, error=_one_line(error), lacks=lacks))
        if isinstance(answer, Going):
            return Answered(self._done(command), answer.steps)
        return Answered(self._done(command, answer), 0 if _pauses(line) else None)

    def _done(
        self,
        command: pr.Do,
        shown: Shown = Shown(),  # noqa: B008
        error: str | None = None,
        *,
        lacks: bool = False,
    ) -> pr.Done:
        points = self.debugger.points.infos
        return pr.Done(id=command.id, shown=shown, error=error, lacks=lacks, points=points)

    def halted(self, stop: Stop) -> tuple[pr.Stopped, float]:
        """What to tell of a stop, its point's commands carried out, and the steps that these let follow."""
        self._console.stopped(stop)
        shown: list[Shown] = []
        steps = 0.0
        for line in self.debugger.stop_commands:
            try:
                answer = self._console.line(line)
            except (ValueError, RuntimeError) as error:
                shown.append(Shown((_one_line(error),)))
                break
            if isinstance(answer, Going):
                steps = answer.steps
                break
            shown.append(answer)
        return pr.Stopped(
            stop=stop, sentence=sentence(stop), shown=tuple(shown), points=self.debugger.points.infos
        ), steps


def _pauses(line: Line) -> bool:
    return isinstance(line.command, do.Into | do.Abandon | do.Rewind)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
