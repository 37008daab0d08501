"""TokenText: a text as the tokens it is made of, each shaded by a value, with the cached prefix marked."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Offset

from workbench.widgets.cells import fit
from workbench.widgets.cursor import CursorPane
from workbench.widgets.inks import Ink
from workbench.widgets.ramp import RGB, blend
from workbench.widgets.tokenlayout import Fragment, TokenLayout

SHADES = 16


class TokenTextModel(Protocol):
    """Tokens by position."""

    @property
    def key(self) -> object:
        """What the text belongs to; under one key, shorter texts are prefixes of longer ones."""
        ...

    @property
    def cached_len(self) -> int:
        """Tokens whose KV came from the prefix cache."""
        ...

    @property
    def prompt_len(self) -> int:
        """Tokens of the prompt; the rest was generated."""
        ...

    def __len__(self) -> int: ...

    def text(self, index: int) -> str:
        """Return a token's text, made harmless; `\\n`, `⏎` and `␊` end lines."""
        ...

    def shade(self, index: int) -> float | None:
        """Return how strongly to shade a token, 0..1, or None for no shade."""
        ...

    def changed(self, index: int) -> bool:
        """Whether this step added the token."""
        ...


@runtime_checkable
class Thinned(Protocol):
    """Tokens of which some are no longer read: those are struck out."""

    def dropped(self, index: int) -> bool:
        """Whether a token's KV is gone."""
        ...


class Part(NamedTuple):
    """How the cached, prompt and generated parts of a text look."""

    ink: Ink
    gutter: str


class TokenText(CursorPane):
    """The text of a request. Arrows move from token to token; shading says what the pane's title says it does."""

    help_text = (
        "A text, token by token. ← → or h l move by token, ↑ ↓ by line, PgUp PgDn page, Home End jump, "
        "Enter asks why this token, y copies it. The left edge marks the cached part of the prompt, "
        "the rest of the prompt, and what was generated; ⏎ is a newline token."
    )

    def __init__(
        self,
        model: TokenTextModel | None = None,
        *,
        positions: bool = True,
        empty: str = "No text.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(empty=empty, id=id, classes=classes)
        self.model = model
        self.positions = positions
        self._layout: TokenLayout | None = None
        self._laid_key: object = None

    def set_model(self, model: TokenTextModel | None, *, follow: bool = False) -> None:
        """Show another text; with `follow`, keep its end in view."""
        self.model = model
        self.items_changed()
        if follow and model is not None and self.is_attached:
            self.show_line(self.line_count() - 1)

    # Layout

    def item_count(self) -> int:
        return len(self.model) if self.model else 0

    @property
    def layout_lines(self) -> TokenLayout:
        """The text in lines of the present width, brought up to date."""
        assert self.model is not None
        width = self.body_width - self._gutter
        layout = self._layout
        stale = layout is None or layout.width != max(2, width) or layout.newline != self.glyphs.newline
        if layout is None or stale or self._laid_key != self.model.key:
            layout = self._layout = TokenLayout(self.model.text, width, self.glyphs.newline)
            self._laid_key = self.model.key
        layout.text = self.model.text
        if layout.count != len(self.model):
            layout.fit_to(len(self.model))
        return layout

    @property
    def _gutter(self) -> int:
        return (len(str(self.item_count())) + 1 if self.positions else 0) + 2

    def line_count(self) -> int:
        return len(self.layout_lines) if self.item_count() else 0

    def line_of(self, index: int) -> int:
        return self.layout_lines.line_of(index)

    # Keys and mouse

    def move(self, step: Offset) -> None:
        if self.model is None or not self.item_count():
            return
        if not step.y:
            self.move_to(self.cursor + step.x)
            return
        layout = self.layout_lines
        line = min(max(0, layout.line_of(self.cursor) + step.y), len(layout) - 1)
        self.move_to(layout.token_at(line, layout.column_of(self.cursor)))

    def click_at(self, at: Offset) -> bool:
        if not 0 <= at.y < self.line_count():
            return False
        self.move_to(self.layout_lines.token_at(at.y, max(0, at.x - self._gutter)))
        return True

    def _put_cursor(self, index: int) -> None:
        """Draw every line of a token again, not only its first."""
        super()._put_cursor(index)
        if self.is_attached:
            self.refresh()

    # Drawing

    def body_line(self, index: int) -> list[Segment]:
        layout = self.layout_lines
        first = layout.starts[index].token
        continued = layout.starts[index].piece > 0 or first >= layout.count
        segments = self._gutter_segments(min(first, layout.count - 1), continued)
        segments += [self._token(fragment) for fragment in layout.fragments(index)]
        return segments

    def _gutter_segments(self, token: int, continued: bool) -> list[Segment]:
        part = self._part(token)
        number = "" if continued else str(token)
        position = fit(number, self._gutter - 3, "right") + " " if self.positions else ""
        return [
            self.brush.segment(position, "faint"),
            self.brush.segment(part.gutter, part.ink if part.ink != "text" else "faint"),
            self.brush.segment(" "),
        ]

    def _part(self, token: int) -> Part:
        assert self.model is not None
        if token < self.model.cached_len:
            return Part("cached-prefix", self.glyphs.gutter_cached)
        if token < self.model.prompt_len:
            return Part("text", self.glyphs.gutter_prompt)
        return Part("decode", self.glyphs.gutter_output)

    def _token(self, fragment: Fragment) -> Segment:
        assert self.model is not None
        token = fragment.token
        if token == self.cursor:
            return Segment(fragment.text, self.brush.style(self.cursor_ink))
        shade = self.model.shade(token)
        ink: Ink = "cached-prefix" if token < self.model.cached_len else "text"
        if isinstance(self.model, Thinned) and self.model.dropped(token):
            ink = "removed"
        style = self.brush.style("changed" if self.model.changed(token) else ink)
        return Segment(fragment.text, style if shade is None else style + self._shade(shade))

    def _shade(self, value: float) -> Style:
        low, high = (_rgb(self.app.theme_variables[name]) for name in ("shade-low", "shade-high"))
        if low is None or high is None:
            return Style(reverse=value >= 0.5)
        level = round(min(max(value, 0.0), 1.0) * (SHADES - 1))
        return Style(bgcolor=blend(low, high, SHADES)[level])

    def copy_text(self) -> str:
        """Return the token under the cursor."""
        return self.model.text(self.cursor) if self.model and self.item_count() else ""


def _rgb(colour: str) -> RGB | None:
    if not colour.startswith("#"):
        return None
    red, green, blue = Color.parse(colour).get_truecolor()
    return red, green, blue


__all__ = ["TokenText", "TokenTextModel"]
