"""LinePane: a pane drawn line by line from a model, so that size costs nothing until it is visible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.filter import LineFilter
from textual.geometry import Offset, Region, Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from workbench.widgets.cells import cell_len
from workbench.widgets.glyphs import UNICODE, Glyphs
from workbench.widgets.inks import Brush, Ink, resolve
from workbench.widgets.messages import Activated
from workbench.widgets.spans import Span, lay
from workbench.widgets.wrap import wrap


@runtime_checkable
class HasGlyphs(Protocol):
    """An app that chose a glyph set."""

    glyphs: Glyphs


def brush_on(widget: Widget) -> Brush:
    """Styles and glyphs for drawing on the background of `widget`."""
    inks = resolve(widget.app.theme_variables, colour=not widget.app.no_color)
    glyphs = widget.app.glyphs if isinstance(widget.app, HasGlyphs) else UNICODE
    return Brush(inks, glyphs, widget.rich_style)


class LinePane(ScrollView, can_focus=True, inherit_bindings=False):
    """A focusable pane of lines: fixed lines above, a scrolled body, fixed lines below.

    A subclass says how many body lines there are and draws one at a time; scrolling, the empty text, colours,
    keys, the mouse and text selection are handled here.
    """

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(0,-1)", "Up", show=False, id="pane.up"),
        Binding("down,j", "cursor(0,1)", "Down", show=False, id="pane.down"),
        Binding("left,h", "cursor(-1,0)", "Left", show=False, id="pane.left"),
        Binding("right,l", "cursor(1,0)", "Right", show=False, id="pane.right"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="pane.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="pane.page_down"),
        Binding("home", "edge(-1)", "First", show=False, id="pane.first"),
        Binding("end", "edge(1)", "Last", show=False, id="pane.last"),
        Binding("enter", "activate", "Open", show=False, id="pane.activate"),
    ]
    help_text: str = ""
    """What this pane shows and what its keys do, for the help of the focused pane."""

    def __init__(
        self,
        *,
        empty: str = "Nothing here yet.",
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.empty = empty
        self.top_lines = 0
        self.bottom_lines = 0
        self._brush: Brush | None = None

    # What a subclass draws

    def line_count(self) -> int:
        """Return the number of body lines; 0 shows the empty text."""
        return 0

    def body_line(self, index: int) -> list[Segment]:
        """Return body line `index`; what is short of the pane is padded, what is longer is cut."""
        raise NotImplementedError

    def head_lines(self) -> Sequence[list[Segment]]:
        """Return the `top_lines` fixed lines above the body."""
        raise NotImplementedError

    def foot_lines(self) -> Sequence[list[Segment]]:
        """Return the `bottom_lines` fixed lines below the body."""
        raise NotImplementedError

    def copy_text(self) -> str:
        """Return what `y` copies: the item under the cursor as text."""
        return ""

    def move(self, step: Offset) -> None:
        """Move the cursor by a person's arrow key."""
        self.scroll_relative(y=step.y, animate=False)

    def page(self, direction: int) -> None:
        """Move the cursor by a page."""
        self.move(Offset(0, direction * max(1, self.body_height - 1)))

    def edge(self, direction: int) -> None:
        """Move the cursor to the first (-1) or last (1) item."""
        self.scroll_to(y=0 if direction < 0 else self.max_scroll_y, animate=False)

    def click_at(self, at: Offset) -> bool:
        """Move the cursor to the item at body cell `at`; False where nothing lies."""
        raise NotImplementedError

    def render_str(self, text_content: str | Content) -> Content:
        """Take titles as they are written: a token's text in one of them is not markup."""
        return text_content if isinstance(text_content, Content) else Content(text_content)

    # Geometry

    @property
    def body_height(self) -> int:
        """Lines the body can show at once."""
        return max(0, self.size.height - self.top_lines - self.bottom_lines)

    @property
    def body_width(self) -> int:
        """Cells of one line, the scroll bar left out."""
        return max(0, self.size.width - self.scrollbar_size_vertical)

    def content_changed(self) -> None:
        """Take note that the model changed: fit the scroll range and draw again."""
        if self.is_attached:
            height = self.line_count() + self.top_lines + self.bottom_lines
            self.virtual_size = Size(self.body_width, height)
            self.refresh()

    def show_line(self, line: int) -> None:
        """Scroll as little as brings body line `line` into view."""
        top, height = round(self.scroll_y), self.body_height
        if line < top:
            self.scroll_to(y=line, animate=False, force=True)
        elif height and line >= top + height:
            self.scroll_to(y=line - height + 1, animate=False, force=True)

    def refresh_body_line(self, line: int) -> None:
        """Draw one body line again."""
        self.refresh_line(line + self.top_lines)

    def refresh_foot(self) -> None:
        """Draw the fixed lines below the body again."""
        top = self.size.height - self.bottom_lines
        self.refresh(Region(0, top, self.size.width, self.bottom_lines))

    # Drawing

    @property
    def glyphs(self) -> Glyphs:
        """The glyph set the app chose."""
        return self.brush.glyphs

    @property
    def dark(self) -> bool:
        """Whether the screen is dark."""
        return self.app.current_theme.dark

    @property
    def colourless(self) -> bool:
        """Whether no colour reaches the terminal, not even grey."""
        return self.app.no_color and self.app.native_ansi_color

    @property
    def brush(self) -> Brush:
        """Styles and glyphs for drawing on this pane's background."""
        if self._brush is None:
            self._brush = brush_on(self)
        return self._brush

    @property
    def cursor_ink(self) -> Ink:
        """The ink of the item under the cursor."""
        return "cursor" if self.has_focus else "cursor-blurred"

    def render_line(self, y: int) -> Strip:
        width = self.body_width
        strip = Strip(self._segments_at(y, width)).adjust_cell_length(width, self.brush.base)
        if not self.ALLOW_SELECT or not self.is_body(y):
            return strip
        line = y - self.top_lines + self.scroll_offset.y
        return self._with_selection(strip, line).apply_offsets(0, line)

    def _segments_at(self, y: int, width: int) -> list[Segment]:
        if not (count := self.line_count()):
            return self._empty_line(y, width)
        if y >= self.size.height - self.bottom_lines:
            return self.foot_lines()[y - self.size.height + self.bottom_lines]
        if y < self.top_lines:
            return self.head_lines()[y]
        index = y - self.top_lines + self.scroll_offset.y
        return self.body_line(index) if index < count else []

    def is_body(self, y: int) -> bool:
        """Whether pane line `y` belongs to the scrolled body."""
        return self.top_lines <= y < self.size.height - self.bottom_lines

    def _empty_line(self, y: int, width: int) -> list[Segment]:
        inner = max(1, width - 4)
        lines = [line for text in self.empty.splitlines() for line in wrap(Span(text, "dim"), inner)]
        index = y - max(0, (self.size.height - len(lines)) // 2)
        return lay(lines[index], width, self.brush, "center") if 0 <= index < len(lines) else []

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Skip the filter that turns ANSI colours into true colour: ours already are."""
        plain = self.app.no_color or self.glyphs.name == "ascii"
        return super().get_line_filters() if plain else []

    def notify_style_update(self) -> None:
        self._brush = None
        super().notify_style_update()

    # Text selection

    def _with_selection(self, strip: Strip, line: int) -> Strip:
        if (selection := self.text_selection) is None or (span := selection.get_span(line)) is None:
            return strip
        text = strip.text
        start = cell_len(text[: span[0]])
        end = cell_len(text[: span[1]]) if span[1] >= 0 else strip.cell_length
        chosen = Strip(Segment.apply_style(strip.crop(start, end), post_style=self.selection_style))
        return Strip.join([strip.crop(0, start), chosen, strip.crop(end)])

    @property
    def selection_style(self) -> Style:
        """The ground of text selected with the mouse; the text keeps its inks."""
        return Style(bgcolor=self.screen.get_component_rich_style("screen--selection").bgcolor)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        if not self.ALLOW_SELECT:
            return None
        first = selection.start.y if selection.start else 0
        last = selection.end.y if selection.end else self.line_count() - 1
        lines = [Strip(self.body_line(line)).text for line in range(first, last + 1)]
        start = selection.start.x if selection.start else 0
        if selection.end:
            lines[-1] = lines[-1][: selection.end.x]
        lines[0] = lines[0][start:]
        return "\n".join(line.rstrip() for line in lines), "\n"

    def text_select_all(self) -> None:
        """A double click opens the item under the mouse instead of selecting the whole pane."""

    # Keys and mouse

    def action_cursor(self, columns: int, lines: int) -> None:
        self.move(Offset(columns, lines))

    def action_page(self, direction: int) -> None:
        self.page(direction)

    def action_edge(self, direction: int) -> None:
        self.edge(direction)

    def action_activate(self) -> None:
        if self.line_count():
            self.post_message(Activated(self))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or not self.is_body(offset.y):
            return
        hit = self.click_at(Offset(offset.x, offset.y - self.top_lines + self.scroll_offset.y))
        if hit and event.chain == 2:
            self.post_message(Activated(self))

    def on_resize(self) -> None:
        self.content_changed()

    def on_mount(self) -> None:
        super().on_mount()  # type: ignore[no-untyped-call]
        self.content_changed()

    def on_focus(self) -> None:
        self._brush = None
        self.refresh()

    def on_blur(self) -> None:
        self._brush = None
        self.refresh()
