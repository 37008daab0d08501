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
from workbench.forking import ForkHint
from workbench.view import View
from workbench.views.fork_text import origin_of
from workbench.views.provenance import recomputed
from workbench.views.request_text import SHADINGS, RequestText
from workbench.views.subject import Subject, subject_of
from workbench.views.tokens_course import course_of
from workbench.views.tokens_draw import DrawnFrom, drawn_from
from workbench.views.tokens_facts import NEAR_TIE, choice_in_brief, choice_lines, no_choice
from workbench.views.tokens_layout import NARROW, Wanted, left_out, shown
from workbench.views.tokens_pane import SideStep, StagePane
from workbench.views.tokens_settings import SettingsChanged, SettingsPane
from workbench.views.tokens_stages import Pipeline
from workbench.views.tokens_text import tokens_text
from workbench.views.tokens_trying import Trying, draw_title, trying_title
from workbench.widgets.cdfbar import CdfBar
from workbench.widgets.messages import Activated, CursorMoved
from workbench.widgets.sparkline import StepChart
from workbench.widgets.textpane import TextPane
from workbench.widgets.tokentext import TokenText


def _why_no_text(view: TokensView) -> str | None:
    found = subject_of(view.scene)
    return found if isinstance(found, str) else None


def _why_not_follow(view: TokensView) -> str | None:
    return "the newest token is followed already" if view.scene.selection.position is None else None


class TokensView(View):
    """The text on the left; on the right what the sampler did to the candidates of the selected token."""

    view_name = "tokens"
    number = 2
    title = "Tokens"
    question = "why this token?"
    help_text = (
        "The sampler as a pipeline. Select a token in the text: the table shows its candidates after every "
        "stage, which stage removed which candidate and with what numbers, and the bar below shows where the "
        "draw fell. w asks what other settings would have chosen, what would have been chosen in place of a "
        "prompt token, and what comes next. m changes what the text is shaded by."
    )
    actions = (
        Action(
            "tokens.what_if", ("w",), "Try other sampler settings on this token", "View",
            lambda view: view.toggle_what_if(), "what if", _why_no_text,
            "The stages are worked out again from one inspection's logits, with the same draw.",
        ),
        Action(
            "tokens.shading", ("m",), "Shade the text by probability, entropy or rank", "View",
            lambda view: view.turn_shading(), "shading",
        ),
        Action(
            "tokens.follow", ("f",), "Follow the newest token", "View", lambda view: view.follow(), "follow",
            _why_not_follow,
        ),
    )  # fmt: skip

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._shading = 0
        self._trying = Trying()
        self._filled: object = None  # what the stages on screen belong to
        self._title = ""  # of the choice on screen
        self._drawn: DrawnFrom | None = None
        self._redrawn: DrawnFrom | None = None

    def compose(self) -> ComposeResult:
        with Container(id="tokens-body"):
            with Vertical(id="tokens-left"):
                yield TokenText(id="tokens-text", classes="framed")
                yield StepChart(id="tokens-course", classes="framed", empty="No tokens yet.")
                yield SettingsPane(id="tokens-settings", classes="framed")
            with Vertical(id="tokens-right"):
                yield TextPane(id="tokens-facts", classes="framed")
                yield StagePane(id="tokens-stages", classes="framed")
                yield StagePane(id="tokens-what-if", classes="framed")
                yield CdfBar(id="tokens-draw", classes="framed")
                yield CdfBar(id="tokens-redraw", classes="framed")

    def on_mount(self) -> None:
        self.course.border_title = "surprise and entropy, in nats"
        self.settings.border_title = "what if"
        self._arrange()

    # Panes

    @property
    def text_pane(self) -> TokenText:
        return self.query_one("#tokens-text", TokenText)

    @property
    def course(self) -> StepChart:
        return self.query_one("#tokens-course", StepChart)

    @property
    def settings(self) -> SettingsPane:
        return self.query_one("#tokens-settings", SettingsPane)

    @property
    def facts(self) -> TextPane:
        return self.query_one("#tokens-facts", TextPane)

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
        self._filled = self._drawn = self._redrawn = None
        self._trying.end()
        for pane in (self.text_pane, self.stages):
            pane.empty, pane.border_title, pane.border_subtitle = why, "", ""
        self.text_pane.set_model(None)
        self.stages.set_pipeline(None)
        self.course.set_series(())

    def _show_text(self, scene: Scene, subject: Subject) -> None:
        pane, shading = self.text_pane, SHADINGS[self._shading]
        text = RequestText.at(scene, subject.request, shading)
        pane.set_model(text, follow=subject.following)
        pane.show_cursor(subject.position)
        cached = f", {text.cached_len} cached" if text.cached_len else ""
        cached += f", {text.dropped_len:,} dropped" if text.dropped_len else ""
        origin = origin_of(scene.record, scene.record.request(subject.request))
        pane.border_title = f"request {subject.request}{origin} by {shading.name}{cached}"
        pane.border_subtitle = shading.legend
        self.course.set_series(course_of(text))
        self.course.show_cursor(subject.choice)

    def _show_choice(self, scene: Scene, subject: Subject) -> None:
        details = _details_of(scene, subject)
        filled = (scene.moment.branch, subject.request, subject.choice, details is None, scene.moment.step)
        if details is None:
            self._fill_no_choice(subject)
        elif filled != self._filled:
            self._fill_choice(scene, details)
        self._filled = filled

    def _fill_no_choice(self, subject: Subject) -> None:
        self._drawn = None
        self.stages.empty = no_choice(subject)
        self.stages.set_pipeline(None)
        self.stages.border_title, self.stages.border_subtitle = "sampler", ""

    def _fill_choice(self, scene: Scene, details: TokenDetails) -> None:
        record = scene.record
        self.facts.set_lines(choice_lines(details, record.token_text))
        self._title = self.facts.border_title = choice_title(scene, details)
        self.facts.border_subtitle = f"! {NEAR_TIE}" if details.near_tie else ""
        self.stages.set_pipeline(Pipeline(details, record.token_text, record.about.shape.vocab_size))
        self._drawn = drawn_from(details, record.token_text)
        _fill_draw(self.draw, self._drawn, details, "the draw, as recorded")

    def _show_what_if(self, scene: Scene, subject: Subject) -> None:
        self._redrawn = None
        settings = self._trying.visit(subject.request)
        if settings is None:
            return
        self.settings.set_settings(settings)
        pane, record = self.what_if, scene.record
        result = self._trying.result(scene, subject, settings)
        if isinstance(result, str):
            pane.empty, pane.border_subtitle = result, ""
            pane.border_title = f"what if {settings.changes}"
            pane.set_pipeline(None)
            return
        before = record.details(subject.request, subject.choice)
        vocab_size = record.about.shape.vocab_size
        other = result.given.token if result.given else before.token if before else None
        pane.set_pipeline(Pipeline(result.details, record.token_text, vocab_size, before, other))
        pane.border_title = trying_title(settings, subject, result, scene)
        kept = "from the logits captured in the run"
        pane.border_subtitle = kept if result.captured else recomputed(result.worst, scene.glyphs)
        self._redrawn = drawn_from(result.details, record.token_text)
        _fill_draw(self.redraw, self._redrawn, result.details, draw_title(before))

    def fork_hint(self) -> ForkHint | None:
        """The candidate under the cursor, or the settings that are tried."""
        subject = subject_of(self.scene)
        if isinstance(subject, str) or subject.is_prompt or subject.absent:
            return None
        tried = self._trying.settings
        pane = self.what_if if self.what_if.has_focus else self.stages
        if tried is not None and self.settings.has_focus:
            return ForkHint(subject.choice, params=tried.tried)
        chosen = pane.pipeline.details.token if pane.pipeline else None
        forced = pane.token if pane.has_focus or pane.token != chosen else None
        return ForkHint(subject.choice, forced)

    # Layout

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        self._arrange()

    @property
    def _wanted(self) -> Wanted:
        return Wanted(
            choice=self.stages.pipeline is not None,
            draw=self._drawn is not None,
            trying=self._trying.settings is not None,
            redraw=self._redrawn is not None,
        )

    @property
    def dropped(self) -> list[str]:
        return list(left_out(self._wanted, self.size))

    def _arrange(self) -> None:
        """Give every pane its place, or none: too little room, or nothing to show."""
        self.set_class(self.size.width < NARROW, "-narrow")
        self.query_one("#tokens-left").set_class(self._wanted.trying, "-settings")
        for name, on_screen in shown(self._wanted, self.size).items():
            self.query_one(f"#{name}").display = on_screen
        self._say_briefly()

    def _say_briefly(self) -> None:
        """Where there is no room for the facts, the frame of the stages has the most important ones."""
        if (pipeline := self.stages.pipeline) is not None:
            room = self.facts.display
            self.stages.border_title = "sampler" if room else self._title
            self.stages.border_subtitle = "" if room else choice_in_brief(pipeline.details)

    # Acting

    def turn_shading(self) -> None:
        """Shade the text by the next measure."""
        self._shading = (self._shading + 1) % len(SHADINGS)
        self._show_again()

    def toggle_what_if(self) -> None:
        """Begin or end trying other settings."""
        subject = subject_of(self.scene)
        if self._trying.settings is not None or isinstance(subject, str):
            self._end_what_if()
            return
        self._trying.begin(self.scene, subject.request)
        self._show_again()
        self.settings.focus()

    def _end_what_if(self) -> None:
        if any(pane.has_focus for pane in (self.settings, self.what_if, self.redraw)):
            self.text_pane.focus()
        self._trying.end()
        self._show_again()

    def try_settings(self, tried: SamplingParams) -> None:
        """Work the stages again with these settings."""
        self._trying.change(tried)
        self._show_again()

    def follow(self) -> None:
        """Select no token, so that the newest one is shown."""
        self.bench.select(replace(self.scene.selection, position=None, own_row=False))

    def back(self) -> bool:
        if self._trying.settings is None:
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

    def _show_again(self) -> None:
        self.show(self.scene, News.SELECTION)

    def _select(self, position: int) -> None:
        self.bench.select(replace(self.scene.selection, position=position))

    @on(CursorMoved, "#tokens-text")
    def _token_moved(self, message: CursorMoved) -> None:
        message.stop()
        self._select(message.index)

    @on(CursorMoved, "#tokens-course")
    def _course_moved(self, message: CursorMoved) -> None:
        """The chart stands over the tokens that were chosen."""
        message.stop()
        self._select(message.index - 1 if self.scene.selection.own_row else message.index)

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
        recorded = message.pane is self.draw
        pane, drawn = (self.stages, self._drawn) if recorded else (self.what_if, self._redrawn)
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
    now = f" {scene.glyphs.changed} now" if row is not None and row.chosen_step == scene.moment.step else ""
    return f"why '{scene.record.token_text(details.token)}' at {details.position}{step}{now}"


def _fill_draw(bar: CdfBar, drawn: DrawnFrom | None, details: TokenDetails, title: str) -> None:
    if drawn is None:
        return
    bar.set_draw(drawn.shares, details.draw, drawn.chosen)
    bar.border_title = title
    bar.border_subtitle = "" if drawn.exact else "~ widths as recorded, places of others not"


__all__ = ["TokensView"]
