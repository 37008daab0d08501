"""Bench: what a view may ask of the app, and Scene: what it is given to show."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from engine.debug.said import Stop
    from engine.plug_guard import PluginFailedError
    from engine.protocol import Walking
    from workbench.branches import Branches
    from workbench.inside import Inside
    from workbench.inspections import Inspections
    from workbench.moment import Moment
    from workbench.record import Record
    from workbench.selection import Selection
    from workbench.widgets.glyphs import Glyphs


class News(Flag):
    """What is different since a view was last told to show."""

    MOMENT = auto()  # the clock moved, or more happened in its step
    SELECTION = auto()
    RECORD = auto()  # the record grew, though the moment may be the same
    INSPECTION = auto()  # an inspection was answered
    ENGINE = auto()  # the engine loaded, paused, ran, ended
    ALL = MOMENT | SELECTION | RECORD | INSPECTION | ENGINE


EngineState = Literal["none", "loading", "looking", "paused", "running", "failed", "gone"]


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The engine as the screen knows it.

    `none` is a recorded session, `looking` one whose model was loaded to inspect it, `gone` a process that ended.
    """

    state: EngineState
    text: str = ""  # what it is loading, or why it failed or went
    tokens_per_s: float = 0.0
    inside: Inside | None = None  # the forward pass that it is halted in
    stop: Stop | None = None  # what has halted it

    @property
    def records(self) -> bool:
        """Whether what it does goes into the session on the screen."""
        return self.state in ("paused", "running", "failed")

    @property
    def why_not(self) -> str | None:
        """Why it cannot step, run or take prompts now, in one sentence; None when it can."""
        if self.state == "looking":
            return "the model only looks at this recording: n goes on from here, in a copy"
        return self.why_no_look

    @property
    def under_way(self) -> int | None:
        """The step that is planned and not over: what changes something waits in the engine until it is."""
        if self.inside is not None:
            return self.inside.step
        return self.stop.step if self.stop is not None and self.stop.when == "planned" else None

    @property
    def why_no_look(self) -> str | None:
        """Why it cannot inspect anything now, in one sentence; None when it can."""
        if self.state == "none":
            return "this is a recorded session: there is no engine to ask"
        if self.state == "loading":
            return "the model is still loading"
        return f"the engine is gone: {self.text}" if self.state == "gone" else None


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a view shows, at one moment. Views keep nothing of it between calls of `show`."""

    record: Record
    moment: Moment
    selection: Selection
    engine: EngineStatus
    inspections: Inspections
    glyphs: Glyphs
    branches: Branches


class Bench(Protocol):
    """The app, as views see it. Handlers call these; all return at once."""

    @property
    def scene(self) -> Scene: ...

    def select(self, selection: Selection) -> None:
        """Select something in all views: `bench.select(replace(scene.selection, block=3))`."""
        ...

    def seek(self, step: int, branch: int | None = None) -> None:
        """Move the clock to `step`, into the past; of another branch where one is given."""
        ...

    def note(self, news: News) -> None:
        """Something is news: views are shown it with the next paint."""
        ...

    def open_view(self, name: str) -> None:
        """Show the view of that name (`tokens`, `blocks`, …); `esc` comes back."""
        ...

    def walk(self, command: Walking) -> None:
        """Tell the engine that is halted inside a forward pass to go on, or to show more of where it stands."""
        ...

    def plugin_failed(self, failure: PluginFailedError) -> None:
        """Say that a plugin is asked no more, and have the session record it where one is being recorded."""
        ...

    def say(self, text: str, *, problem: bool = False) -> None:
        """Put one line on the message line."""
        ...


__all__ = ["Bench", "EngineState", "EngineStatus", "News", "Scene"]
