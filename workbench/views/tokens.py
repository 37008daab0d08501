"""View 2, Tokens: why this token?"""

from __future__ import annotations

from dataclasses import replace

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from engine.details import TokenDetails
from engine.params import SamplingParams
from workbench.actions import Action
from workbench.bench import News, Scene
from workbench.inspections import Look
from workbench.view import View
from workbench.views.looking import looked, why_not_looked
from workbench.views.provenance import recomputed
from workbench.views.request_text import SHADINGS, RequestText
from workbench.views.subject import Subject, subject_of
from workbench.views.tokens_draw import DrawnFrom, drawn_from
from workbench.views.tokens_facts import NEAR_TIE, choice_in_brief, choice_lines, no_choice
from workbench.views.tokens_pane import SideStep, StagePane
from workbench.views.tokens_settings import SettingsChanged, SettingsPane
from workbench.views.tokens_stages import Pipeline
from workbench.views.tokens_text import tokens_text
from workbench.views.tokens_whatif import Reworked, Settings, rework_choice
from workbench.widgets.cdfbar import CdfBar
from workbench.widgets.messages import Activated, CursorMoved
from workbench.widgets.textpane import TextPane
from workbench.widgets.tokentext import TokenText

NARROW = 100  # below, the text stands above the stages
FACTS_HEIGHT, DRAW_HEIGHT = 20, 24  # the least height of the view for these panes
BOTH_HEIGHT = 46  # for recorded and reworked stages one above the other


def _next_shading(view: TokensView) -> None:
    view.turn_shading()


def _toggle_what_if(view: TokensView) -> None:
    view.toggle_what_if()


def _why_no_what_if(view: TokensView) -> str | None:
    found = subject_of(view.scene)
    return found if isinstance(found, str) else None


class TokensView(View):
    """The text on the left; on the right what the sampler did to the candidates of the selected token."""

    view_name = "tokens"
    number = 2
    title = "Tokens"
    question = "why this token?"
    help_text = (
        "The sampler as a pipeline. Select a token in the text: the table shows its candidates after every "
        "stage, which stage removed which candidate and with what numbers, and the bar below shows where the "
        "draw fell. "
        "w asks what other settings would have chosen, m changes what the text is shaded by."
    )
    actions = (
        Action(
            "tokens.shading", ("m",), "Shade the text by probability, entropy or rank", "View", _next_shading,
            "shading",
        ),
        Action(
            "tokens.what_if", ("w",), "Try other sampler settings on this token", "View", _toggle_what_if,
            "what if", _why_no_what_if,
            "The stages are worked out again from one inspection's logits, with the same draw.",
        ),
    )  # fmt: skip

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._shading = 0
        self._settings: Settings | None = None
        self._shown: object = None  # what the stages on screen belong to
        self._drawn: DrawnFrom | None = None
        self._redrawn: DrawnFrom | None = None

    def compose(self) -> ComposeResult:
        with Container(id="tokens-body"):
            with Vertical(id="tokens-left"):
                yield TokenText(id="tokens-text", classes="framed")
                yield SettingsPane(id="tokens-settings", classes="framed")
            with Vertical(id="tokens-right"):
                yield TextPane(id="tokens-facts", classes="framed")
                yield StagePane(id="tokens-stages", classes="framed")
                yield StagePane(id="tokens-what-if", classes="framed")
                yield CdfBar(id="tokens-draw", classes="framed draw")
                yield CdfBar(id="tokens-redraw", classes="framed draw")

    def on_mount(self) -> None:
        self.query_one(SettingsPane).border_title = "what if"
        self._arrange()

    # Panes

    @property
    def text_pane(self) -> TokenText:
        return self.query_one("#tokens-text", TokenText)

    @property
    def stages(self) -> StagePane:
        return self.query_one("#tokens-stages", StagePane)

    @property
    def what_if(self) -> StagePane:
        return self.query_one("#tokens-what-if", StagePane)

    @property
    def draw(self) -> CdfBar:
        return self.query_one("#tokens-draw", CdfBar)

    @property
    def redraw(self) -> CdfBar:
        return self.query_one("#tokens-redraw", CdfBar)

    # Showing

    def show(self, scene: Scene, news: News) -> None:  # noqa: ARG002
        subject = subject_of(scene)
        if isinstance(subject, str):
            self._show_nothing(subject)
        else:
            self._show_text(scene, subject)
            self._show_choice(scene, subject)
            self._show_what_if(scene, subject)
        self._arrange()

    def _show_nothing(self, why: str) -> None:
        self._shown = self._drawn = self._settings = None
        self.text_pane.empty = self.stages.empty = why
        self.text_pane.border_title = self.stages.border_title = ""
        self.text_pane.border_subtitle = self.stages.border_subtitle = ""
        self.text_pane.set_model(None)
        self.stages.set_pipeline(None)

    def _show_text(self, scene: Scene, subject: Subject) -> None:
        pane, shading = self.text_pane, SHADINGS[self._shading]
        pane.set_model(RequestText.at(scene, subject.request, shading), follow=subject.following)
        pane.show_cursor(subject.position)
        pane.border_title = f"request {subject.request} by {shading.name}"
        pane.border_subtitle = shading.legend

    def _show_choice(self, scene: Scene, subject: Subject) -> None:
        details = _details_of(scene, subject)
        shown = (subject.request, subject.choice, details is None)
        if shown != self._shown or details is None:
            self._shown = shown
            self._fill_choice(scene, subject, details)

    def _fill_choice(self, scene: Scene, subject: Subject, details: TokenDetails | None) -> None:
        facts, stages, record = self.query_one("#tokens-facts", TextPane), self.stages, scene.record
        self._drawn = None if details is None else drawn_from(details, record.token_text)
        if details is None:
            stages.empty = no_choice(subject)
            stages.set_pipeline(None)
            stages.border_title, stages.border_subtitle = "sampler", ""
            return
        vocab_size = record.about.shape.vocab_size
        facts.set_lines(choice_lines(details, record.token_text))
        facts.border_title = choice_title(scene, details)
        facts.border_subtitle = f"! {NEAR_TIE}" if details.near_tie else ""
        stages.set_pipeline(Pipeline(details, record.token_text, vocab_size))
        _show_draw(self.draw, self._drawn, details, "the draw, as recorded")

    def _show_what_if(self, scene: Scene, subject: Subject) -> None:
        if self._settings is not None and self._settings.request != subject.request:
            self._settings = None
        self._redrawn = None
        if self._settings is None:
            return
        self.query_one(SettingsPane).set_settings(self._settings)
        result = self._reworked(scene, subject, self._settings)
        pane, record = self.what_if, scene.record
        pane.border_title, pane.border_subtitle = f"what if {self._settings.changes}", ""
        if isinstance(result, str):
            pane.empty = result
            pane.set_pipeline(None)
            return
        before = record.details(subject.request, subject.choice)
        pane.set_pipeline(Pipeline(result.details, record.token_text, record.about.shape.vocab_size, before))
        pane.border_title = f"what if {self._settings.changes}: {_outcome(result, before, scene)}"
        pane.border_subtitle = recomputed(result.worst, scene.glyphs)
        self._redrawn = drawn_from(result.details, record.token_text)
        _show_draw(self.redraw, self._redrawn, result.details, "what if: the same draw")

    def _reworked(self, scene: Scene, subject: Subject, settings: Settings) -> Reworked | str:
        """The choice under other settings, or why it cannot be worked out (now)."""
        if subject.row is None or subject.absent or subject.is_prompt or subject.choice >= subject.count:
            return no_choice(subject)
        if subject.following and scene.engine.state == "running":
            return "The run goes on. c pauses it; then the stages of the newest token are worked out again."
        answer = looked(scene, Look(subject.request, subject.choice - 1))
        if answer.state == "asked":
            return f"Asking the engine for the logits of row {subject.choice - 1} again."
        if answer.result is None:
            return f"Other settings need all logits of this row. {why_not_looked(answer.why, scene)}"
        return rework_choice(scene.record, subject.request, subject.choice, answer.result.logits, settings.tried)

    # Layout

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        self._arrange()

    @property
    def dropped(self) -> list[str]:
        wanted = {"tokens-facts": self._shown_choice, "tokens-draw": self._drawn is not None}
        panes = (self.query_one(f"#{name}") for name, there in wanted.items() if there)
        return [str(pane.border_title) for pane in panes if not pane.display]

    @property
    def _shown_choice(self) -> bool:
        return self.stages.pipeline is not None

    def _arrange(self) -> None:
        """Give every pane its place, or none: too little room, or nothing to show."""
        width, height = self.size
        trying, both = self._settings is not None, height >= BOTH_HEIGHT
        narrow = width < NARROW
        self.set_class(narrow, "-narrow")
        self.query_one("#tokens-left").set_class(trying, "-settings")
        self.text_pane.display = not (narrow and trying)
        self.query_one(SettingsPane).display = trying
        facts = self.query_one("#tokens-facts")
        facts.display = self._shown_choice and height >= FACTS_HEIGHT
        self.stages.display = not trying or both
        self.what_if.display = trying
        self.draw.display = self._drawn is not None and height >= DRAW_HEIGHT
        self.redraw.display = trying and self._redrawn is not None and height >= DRAW_HEIGHT
        self._say_briefly(facts.display)

    def _say_briefly(self, facts_shown: bool) -> None:
        """Where there is no room for the facts, the frame of the stages has the most important ones."""
        pipeline = self.stages.pipeline
        if pipeline is not None:
            title = str(self.query_one("#tokens-facts").border_title)
            self.stages.border_title = "sampler" if facts_shown else title
            self.stages.border_subtitle = "" if facts_shown else choice_in_brief(pipeline.details)

    # Acting

    def turn_shading(self) -> None:
        """Shade the text by the next measure."""
        self._shading = (self._shading + 1) % len(SHADINGS)
        self.show(self.scene, News.SELECTION)

    def toggle_what_if(self) -> None:
        """Begin or end trying other settings."""
        subject = subject_of(self.scene)
        if self._settings is not None or isinstance(subject, str):
            self._end_what_if()
            return
        row = self.scene.record.request(subject.request)
        assert row is not None
        self._settings = Settings(subject.request, row.sampling, row.sampling)
        self.show(self.scene, News.SELECTION)
        self.query_one(SettingsPane).focus()

    def _end_what_if(self) -> None:
        had_focus = self.query_one(SettingsPane).has_focus
        self._settings = None
        self.show(self.scene, News.SELECTION)
        if had_focus:
            self.text_pane.focus()

    def try_settings(self, tried: SamplingParams) -> None:
        """Work the stages again with these settings."""
        if self._settings is not None:
            self._settings = replace(self._settings, tried=tried)
            self.show(self.scene, News.SELECTION)

    def back(self) -> bool:
        if self._settings is None:
            return False
        self._end_what_if()
        return True

    def search(self, wanted: str, direction: int) -> str:
        subject = subject_of(self.scene)
        if isinstance(subject, str):
            return subject
        found = RequestText.at(self.scene, subject.request).find(wanted, subject.position, direction)
        if found is None:
            return f"request {subject.request} has no {wanted!r}"
        self._select(found)
        return f"{wanted!r} at position {found}"

    def _select(self, position: int) -> None:
        self.bench.select(replace(self.scene.selection, position=position))

    @on(CursorMoved, "#tokens-text")
    def _token_moved(self, message: CursorMoved) -> None:
        message.stop()
        self._select(message.index)

    @on(SideStep)
    def _side_step(self, message: SideStep) -> None:
        message.stop()
        subject = subject_of(self.scene)
        if not isinstance(subject, str):
            self._select(min(max(subject.position + message.step, 0), subject.count - 1))

    @on(Activated, "#tokens-text")
    def _token_activated(self, message: Activated) -> None:
        message.stop()
        if self.scene.selection.step is not None:
            self.bench.seek(self.scene.selection.step)

    @on(CursorMoved, "StagePane")
    def _candidate_moved(self, message: CursorMoved) -> None:
        message.stop()
        if isinstance(message.pane, StagePane) and message.pane.token is not None:
            self._point_at(message.pane.token)

    @on(CursorMoved, "CdfBar")
    def _interval_moved(self, message: CursorMoved) -> None:
        message.stop()
        pane, drawn = (self.stages, self._drawn) if message.pane is self.draw else (self.what_if, self._redrawn)
        row = drawn.rows[message.index] if drawn else None
        if row is not None and pane.pipeline is not None:
            self._point_at(pane.pipeline.rows[row].token)

    def _point_at(self, token: int) -> None:
        """Put every cursor that can be on a candidate on this one."""
        pairs = ((self.stages, self.draw, self._drawn), (self.what_if, self.redraw, self._redrawn))
        for pane, bar, drawn in pairs:
            row = pane.pipeline.row_of(token) if pane.pipeline else None
            if row is not None:
                pane.show_cursor(row)
                if drawn is not None and row in drawn.rows:
                    bar.show_cursor(drawn.rows.index(row))

    @on(SettingsChanged)
    def _settings_changed(self, message: SettingsChanged) -> None:
        message.stop()
        self.try_settings(message.tried)

    # Without a screen

    def text(self, scene: Scene, width: int) -> str:
        return tokens_text(scene, width)


def _details_of(scene: Scene, subject: Subject) -> TokenDetails | None:
    if subject.absent or subject.is_prompt or subject.choice >= subject.count:
        return None
    return scene.record.details(subject.request, subject.choice)


def choice_title(scene: Scene, details: TokenDetails) -> str:
    """Which token was chosen when."""
    row = scene.record.token_row(details.request, details.position)
    step = "" if row is None else f" in step {row.chosen_step}"
    return f"why '{scene.record.token_text(details.token)}' at {details.position}{step}"


def _show_draw(bar: CdfBar, drawn: DrawnFrom | None, details: TokenDetails, title: str) -> None:
    if drawn is None:
        return
    bar.set_draw(drawn.shares, details.draw, drawn.chosen)
    bar.border_title = title
    bar.border_subtitle = "" if drawn.exact else "~ widths as recorded, places of others not"


def _outcome(result: Reworked, before: TokenDetails | None, scene: Scene) -> str:
    if before is not None and before.token == result.details.token:
        return "the same token"
    return f"'{scene.record.token_text(result.details.token)}'"


__all__ = ["TokensView"]
