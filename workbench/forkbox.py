"""The fork box: where to fork, what to change, and what that will do, said before it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, ContentSwitcher, Input, RadioSet, Static, TextArea

from engine.option_error import OptionError
from engine.protocol import ForkText
from engine.sanitise import display_text
from workbench.forking import (
    STAGES_HELP,
    TAIL_TOKENS,
    ForkHint,
    Parent,
    Typed,
    read_fork,
    read_position,
    what_happens,
)
from workbench.settings_fields import FIELDS
from workbench.toggles import Radio
from workbench.typing_ahead import TakesText
from workbench.widgets.messages import Activated, CursorMoved
from workbench.widgets.spans import Line, Span
from workbench.widgets.textpane import TextPane

SECTIONS: Sequence[tuple[str, str]] = (
    ("token", "token"),
    ("settings", "settings"),
    ("prompt", "prompt's end"),
    ("stages", "stages"),
)
CONTEXT_TOKENS = 12
OTHER_INPUTS = 4  # position, token, the prompt's end, stages
Send = Callable[[ForkText, Callable[[str | None], None]], None]
"""Sends a fork; the engine's answer comes later: None, or why not."""


@dataclass(frozen=True)
class Choice:
    """A candidate for a token: its id, and how likely it was."""

    token: int
    probability: float
    chosen: bool


class ForkBox(TakesText, ModalScreen[None]):
    """Describes a fork; it closes when the engine has taken it."""

    AUTO_FOCUS = ""  # what is typed first is for the section it opens with
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave"),
        Binding("ctrl+d", "fork", "Fork", priority=True),
        Binding("down", "into_candidates", "Candidates"),
    ]

    def __init__(
        self,
        parent: Parent,
        hint: ForkHint,
        choices_at: Callable[[int], Sequence[Choice]],
        decode: Callable[[Sequence[int]], str],
        send: Send,
    ) -> None:
        """`choices_at` gives the candidates recorded for a position, `decode` the text of ids."""
        super().__init__()
        self.forked = parent
        self.hint = hint
        self._choices_at = choices_at
        self._decode = decode
        self._send = send
        self._choices: Sequence[Choice] = ()
        self._tail = ""  # the prompt's end as it was

    # -- what is on it -------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        last = len(self.forked.tokens)
        position = last if self.hint.position is None else self.hint.position
        with Vertical(classes="dialog", id="fork-box"):
            with Horizontal(classes="setting-row"):
                yield Static(Content(f"Fork request {self.forked.request} at position"), id="fork-title")
                yield Input(str(position), id="position", compact=True, max_length=9)
                yield Static(Content(f"of 0 to {last}"), classes="label")
            yield Static("", id="fork-context")
            with RadioSet(id="what", compact=True):
                for name, title in SECTIONS:
                    yield Radio(Content(title), value=name == self._first, id=f"what-{name}", compact=True)
            with ContentSwitcher(initial=self._first, id="fork-sections"):
                yield from self._sections()
            yield Static("", id="words")
            yield Static("", id="problem")
            with Horizontal(classes="buttons"):
                yield Button(Content("ctrl+d  fork"), id="yes", variant="primary", compact=True)
                yield Button(Content("esc  leave"), id="no", compact=True)

    @property
    def _complete(self) -> bool:
        """Whether all of it is there; messages arrive before and after that, too."""
        return len(self.query("Input, TextArea")) == len(FIELDS) + OTHER_INPUTS

    @property
    def _first(self) -> str:
        """The section to begin with."""
        if self.hint.stages:
            return "stages"
        return "settings" if self.hint.params is not None else "token"

    def _sections(self) -> ComposeResult:
        token = "" if self.hint.token is None else f"#{self.hint.token}"
        with Vertical(id="token"):
            yield Input(
                token, id="token-text", placeholder="text, ' quoted' where spaces matter, or #id", compact=True
            )
            yield TextPane(id="candidates", selectable=True, empty="no candidates are recorded there")
        with Vertical(id="settings"):
            params = self.hint.params or self.forked.params
            for first in range(0, len(FIELDS), 2):
                with Horizontal(classes="setting-row"):
                    for each in FIELDS[first : first + 2]:
                        yield Static(Content(each.name), classes="label")
                        yield Input(each.shown(params), id=each.name, placeholder=each.note, compact=True)
        with Vertical(id="prompt"):
            yield TextArea(id="prompt-end", compact=True, tab_behavior="focus")
        with Vertical(id="stages"):
            yield Input(
                self.hint.stages, id="stages-text", placeholder="layer 4 head 3, layer 5 mlp x 0.5", compact=True
            )
            yield Static(Content(STAGES_HELP), classes="label")

    def on_mount(self) -> None:
        if not self._complete:
            return  # the app is left at this moment
        self._show_place()
        self.query_one(
            {"token": "#token-text", "settings": "#temperature"}.get(self._first, "#stages-text")
        ).focus()

    # -- what is typed -------------------------------------------------------------------------------

    @property
    def typed(self) -> Typed:
        """What stands in the box."""
        end = self.query_one("#prompt-end", TextArea).text
        return Typed(
            position=self._value("position"),
            token=self._value("token-text"),
            settings={each.name: self._value(each.name) for each in FIELDS},
            prompt_end=end if end != self._tail else None,
            stages=self._value("stages-text"),
        )

    def _value(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value

    @on(Input.Changed)
    @on(TextArea.Changed)
    def _say_what_happens(self) -> None:
        if not self._complete:
            return
        try:
            words = what_happens(read_fork(self.typed, self.forked), self.forked)
        except OptionError as error:
            self._tell([], str(error))
        else:
            self._tell(words, "")

    def _tell(self, words: Sequence[str], problem: str) -> None:
        self.query_one("#words", Static).update(Content(" ".join(words)))
        self.query_one("#problem", Static).update(Content(problem))

    @on(Input.Changed, "#position")
    def _show_place(self) -> None:
        """What stands around the position, its candidates, and the prompt from there on."""
        if not self._complete:
            return
        try:
            position = read_position(self._value("position"), self.forked)
        except OptionError:
            self._choices = ()
            self.query_one("#candidates", TextPane).set_lines([])
            return
        self.query_one("#fork-context", Static).update(Content(self._text_around(position)))
        self._choices = self._choices_at(position)
        self.query_one("#candidates", TextPane).set_lines([self._choice_line(each) for each in self._choices])
        self._offer_tail(position)

    def _text_around(self, position: int) -> str:
        tokens, text = self.forked.tokens, self.forked.token_text
        before = "".join(text(token) for token in tokens[max(0, position - CONTEXT_TOKENS) : position])
        after = "".join(text(token) for token in tokens[position : position + CONTEXT_TOKENS])
        return f"…{before} ▸ {after}" if position > CONTEXT_TOKENS else f"{before} ▸ {after}"

    def _choice_line(self, choice: Choice) -> Line:
        chosen = Span("  chosen in the run", "dim") if choice.chosen else Span("")
        text = f"'{self.forked.token_text(choice.token)}'"
        return [Span(f"{choice.probability:6.3f} ", "dim"), Span(text), Span(f"  #{choice.token}", "dim"), chosen]

    def _offer_tail(self, position: int) -> None:
        """The prompt's text from the position on, to be edited; none where it cannot be shown as it is."""
        ids = self.forked.tokens[position : self.forked.prompt_tokens]
        text = self._decode(ids) if ids else ""
        lines = text.replace("\t", " ").split("\n")
        self._tail = text if all(display_text(line) == line for line in lines) else ""
        self.query_one("#prompt-end", TextArea).load_text(self._tail)

    # -- what is done --------------------------------------------------------------------------------

    @on(RadioSet.Changed, "#what")
    def _turn(self, event: RadioSet.Changed) -> None:
        section = SECTIONS[max(0, event.radio_set.pressed_index)][0]
        self.query_one("#fork-sections", ContentSwitcher).current = section
        if section == "prompt":
            self._go_into_prompt()

    def _go_into_prompt(self) -> None:
        """The prompt's end is edited from inside the prompt."""
        position, prompt = self._value("position"), self.forked.prompt_tokens
        if position.strip().isdecimal() and int(position) >= prompt:
            self.query_one("#position", Input).value = str(max(0, prompt - TAIL_TOKENS))

    def action_into_candidates(self) -> None:
        """From the token to those that were likely."""
        if self._choices and self.focused is self.query_one("#token-text"):
            self.query_one("#candidates", TextPane).focus()
            self._take_candidate()

    @on(CursorMoved, "#candidates")
    @on(Activated, "#candidates")
    def _follow_cursor(self, message: CursorMoved | Activated) -> None:
        message.stop()
        self._take_candidate()

    def _take_candidate(self) -> None:
        cursor = self.query_one("#candidates", TextPane).cursor
        if cursor < len(self._choices):
            self.query_one("#token-text", Input).value = f"#{self._choices[cursor].token}"

    def on_input_submitted(self) -> None:
        self.action_fork()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_fork()
        else:
            self.dismiss(None)

    def action_fork(self) -> None:
        """Ask the engine for the fork; it says what is wrong with it, or takes it."""
        try:
            fork = read_fork(self.typed, self.forked)
        except OptionError as error:
            self._tell([], str(error))
            return
        self._send(fork, self._answered)

    def _answered(self, problem: str | None) -> None:
        if problem is not None:
            self._tell([], problem)
        elif self.is_attached:
            self.dismiss(None)


__all__ = ["Choice", "ForkBox", "Send"]
