"""The part of view 8 about quantization: what was measured of the session's model, and measuring more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from textual import on
from textual.message import Message

from engine.quantization_result import LayerError, Measured
from sessions.quantization_kept import Study, model_folder, read_studies, stamp_of
from workbench.bench import Scene
from workbench.program import Program, ProgramError, Told
from workbench.source import program_of
from workbench.views.quant_panes import QuantPanes
from workbench.views.quant_runs import METHODS, SideBySide, Sides, measuring
from workbench.views.quant_tables import FlipRows, LayerRows
from workbench.widgets.messages import Activated, CursorMoved

if TYPE_CHECKING:
    from workbench.app import WorkbenchApp

NOTHING_MEASURED = (
    "Nothing has been measured of this model yet.\n"
    "w measures what methods of quantization do to its predictions of a text: bytes, perplexity, KL, the tokens"
    " that flip, and the layers to blame. It takes a minute or so, and is kept for every session of the model."
)
Found = TypeVar("Found")


class QuantPart(QuantPanes):
    """Holds which text, method, layer, tensor and token are looked at, and the process under way."""

    class Changed(Message):
        """There is more to show than before, or less."""

    def __init__(self) -> None:
        super().__init__()
        self.studies: Sequence[Study] = ()
        self.problem = ""
        self.running: Program | SideBySide | None = None
        self._of: object = None  # the model that studies are of, and when they were kept
        self._study = self._method = self._tensor = 0
        self._layer: int | None = None
        self._position: int | None = None

    def on_unmount(self) -> None:
        self.stop()

    @property
    def _app(self) -> WorkbenchApp:
        return cast("WorkbenchApp", self.app)

    # What is looked at

    @property
    def study(self) -> Study | None:
        return self.studies[self._study] if self.studies else None

    @property
    def measured(self) -> Measured | None:
        return None if self.study is None else self.study.methods[self._method]

    @property
    def _layer_shown(self) -> LayerError | None:
        rows = self.layer_rows.model
        return rows.layers[self.layer_rows.cursor] if isinstance(rows, LayerRows) and len(rows) else None

    @property
    def command(self) -> list[str]:
        """What starts this program without a screen."""
        return program_of(self._app.source.command)

    @property
    def why_not_run(self) -> str | None:
        """Why no process can be started now."""
        if not self.command:
            return "this program was not told how to start an engine"
        return "something is being run already: esc stops it" if self.running is not None else None

    # Showing

    def visit(self, scene: Scene) -> None:
        """Read what was kept since, whoever measured it; called when a person comes to look."""
        about = scene.record.about
        model = model_folder(about.config_sha256, about.weights_sha256)
        of = model, stamp_of(model)
        if of != self._of:
            self._of = of
            self._read(scene, model)

    def _read(self, scene: Scene, model: Path) -> None:
        """Show it from its beginning."""
        self.studies = read_studies(model)
        self._study = self._method = self._tensor = 0
        self._layer = self._position = None
        self._fill(scene)
        self.post_message(self.Changed())

    def _fill(self, scene: Scene) -> None:
        study = self.study
        if study is None:
            self.show_nothing(self.problem or NOTHING_MEASURED)
            return
        self.fill_study(study, len(self.studies) - 1, scene.glyphs)
        self.methods.show_cursor(self._method)
        self._fill_method(scene)

    def _fill_method(self, scene: Scene) -> None:
        study, measured = self.study, self.measured
        assert study is not None
        assert measured is not None
        self.fill_method(study, measured, scene.glyphs)
        blame = measured.method.blame
        self.layer_rows.show_cursor(blame.index(self._layer) if self._layer in blame else 0)
        self._fill_layer()
        flips = measured.method.flips
        at = self._position if self._position is not None else flips[0].position if flips else 0
        self.show_token(at)

    def _fill_layer(self) -> None:
        layer = self._layer_shown
        if layer is None:
            return
        self.fill_layer(layer)
        worst = max(range(len(layer.tensors)), key=lambda index: layer.tensors[index].relative)
        self._tensor = worst
        self.tensors.show_cursor(worst)
        self.fill_grid(layer, worst)

    # Moving

    @on(CursorMoved, "#quant-methods")
    def _method_moved(self, message: CursorMoved) -> None:
        message.stop()
        self._method = message.index
        self._fill_method(self._app.scene)

    @on(CursorMoved, "#quant-layers")
    def _layer_moved(self, message: CursorMoved) -> None:
        message.stop()
        self._layer = None if self._layer_shown is None else self._layer_shown.layer
        self._fill_layer()

    @on(CursorMoved, "#quant-tensors")
    def _tensor_moved(self, message: CursorMoved) -> None:
        message.stop()
        self._tensor = message.index
        if (layer := self._layer_shown) is not None:
            self.fill_grid(layer, self._tensor)

    @on(CursorMoved, "#quant-grid")
    @on(CursorMoved, "#quant-outliers")
    def _nothing_follows(self, message: CursorMoved) -> None:
        message.stop()

    @on(CursorMoved, "#quant-text")
    @on(CursorMoved, "#quant-course")
    def _token_moved(self, message: CursorMoved) -> None:
        message.stop()
        self._position = message.index
        self.show_token(message.index)

    @on(CursorMoved, "#quant-flips")
    def _flip_moved(self, message: CursorMoved) -> None:
        message.stop()
        if isinstance(rows := self.flips.model, FlipRows):
            self._position = rows.flips[message.index].position
            self.show_token(self._position)

    def next_text(self) -> None:
        """Show what was measured on another text."""
        self._study = (self._study + 1) % len(self.studies)
        self._method, self._layer, self._position = 0, None, None
        self._fill(self._app.scene)

    def find(self, wanted: str, direction: int) -> str:
        """Go to the next token that has `wanted` in it."""
        if self.predicted is None:
            return "there is no text to search"
        count, at = len(self.predicted), self.words.cursor
        for step in range(1, count):
            index = (at + direction * step) % count
            if wanted in self.predicted.text(index):
                self._position = index
                self.show_token(index)
                return f"{wanted!r} at {index:,}"
        return f"there is no token with {wanted!r}"

    # Running

    def ask(self) -> None:
        """Ask which methods to measure."""
        from workbench.dialogs import Ask

        hint = "methods, then options of compare-quant: --text FILE, --each, --window, --force"
        self.app.push_screen(Ask("compare-quant --methods ", hint, METHODS), self._asked)

    def _asked(self, line: str | None) -> None:
        if line is None:
            return
        model = self._app.scene.record.about.model_path
        try:
            program = measuring(self.command, model, line)
        except ProgramError as error:
            self._ended(str(error))
            return
        self._begin(program, program.run, lambda _answer: self._measured())

    def _measured(self) -> None:
        self.visit(self._app.scene)
        if not self.studies:
            model = self._app.scene.record.about.model_path
            self._ended(f"{model} holds another model now than the one of this session, and that was measured")

    @on(Activated, "#quant-flips")
    @on(Activated, "#quant-text")
    def _token_activated(self, message: Activated) -> None:
        """Run both models up to the token, and show them side by side."""
        message.stop()
        study, measured, text = self.study, self.measured, self.predicted
        position = self.words.cursor
        if study is None or measured is None or text is None:
            return
        if text.kl(position) is None:
            self._app.say("nothing comes before this token: there is nothing to run", problem=True)
        elif (why := self.why_not_run) is not None:
            self._app.say(why, problem=True)
        else:
            sides = SideBySide(self.command, study, measured.method.method, position)
            self._begin(sides, sides.run, partial(self._open, position, len(study.text.before(position))))

    def _open(self, position: int, at: int, sides: Sides) -> None:
        self._app.open_pair(sides.full, sides.quantized)
        self._app.say(f"token {position:,} of the text is at position {at:,} of these runs")

    def _begin(
        self, what: Program | SideBySide, run: Callable[[Told], Found | None], then: Callable[[Found], object]
    ) -> None:
        self.problem, self.running = "", what
        self._told(what, "starting …")
        work = partial(self._work, what, run, then)
        self.run_worker(work, name="quantization", thread=True, exit_on_error=False)

    def _work(
        self, what: Program | SideBySide, run: Callable[[Told], Found | None], then: Callable[[Found], object]
    ) -> None:
        """On a worker's thread."""
        back = self.app.call_from_thread
        try:
            found = run(lambda said: back(self._told, what, said))
        except (ProgramError, OSError) as error:
            back(self._failed, what, str(error))
            return
        back(self._done, what, found, then)

    def _told(self, what: object, said: str) -> None:
        if what is self.running and self.is_mounted:
            self._app.say(f"{said}  (esc stops it)")
            if not self.studies:
                self.show_nothing(f"{said}\nesc stops it")

    def _done(self, what: object, found: Found | None, then: Callable[[Found], object]) -> None:
        if what is not self.running or not self.is_mounted:
            return
        self._ended("")
        if found is not None:
            then(found)

    def _failed(self, what: object, why: str) -> None:
        if what is self.running and self.is_mounted:
            self._ended(why)

    def _ended(self, problem: str) -> None:
        """What was running is over; a problem is said in one line."""
        self.running, self.problem = None, problem
        self._app.hush()
        if problem:
            self._app.say(problem, problem=True)
        if not self.studies:
            self.show_nothing(problem or NOTHING_MEASURED)

    def stop(self) -> bool:
        """End the process under way; whether there was one."""
        running, self.running = self.running, None
        if running is not None:
            running.stop()
        return running is not None


__all__ = ["NOTHING_MEASURED", "QuantPart"]
