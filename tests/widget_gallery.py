"""Every pane with made-up data: an app to look at, and the models the widget tests share."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

import workbench.widgets
from workbench.widgets.bars import Part
from workbench.widgets.blockmap import CHANGED, LIT, BlockMap, BlockState
from workbench.widgets.budgetbar import BudgetBar
from workbench.widgets.cdfbar import CdfBar, Share
from workbench.widgets.columns import Column
from workbench.widgets.gantt import Gantt, Phase
from workbench.widgets.glyphs import ASCII, UNICODE
from workbench.widgets.headgrid import HeatGrid
from workbench.widgets.heatmap import Heatmap, Matrix
from workbench.widgets.inks import Ink
from workbench.widgets.palette import THEMES, colours_for
from workbench.widgets.pane import LinePane
from workbench.widgets.spans import Bar, Line, Span
from workbench.widgets.sparkline import StepChart
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import DetailPane, Fact, TextPane
from workbench.widgets.timeline import StepMark, Timeline
from workbench.widgets.tokentext import TokenText
from workbench.widgets.treeview import LineTree

NASTY = [
    "[/b]",
    "[red]",
    "\x1b[31m",
    "\r",
    "\u202e",
    "é",
    "日",
    "👩‍👩‍👧",
    "e\u0301",
    "a\u200bb",
    "\ud800",
    "👍🏽",
    "🇩🇪",
]

SOURCE = '''def fibonacci(n):
    """Return the n-th Fibonacci number."""
    if n < 2:
        return n
    return fibonacci(n - 1) + fibonacci(n - 2)


class Cache:
    def __init__(self, size=128):
        self.size = size
        self.entries = {}

    def get(self, key):
        if key not in self.entries:
            raise KeyError(key)
        return self.entries[key]
'''


class Rows:
    """Requests, as the overview shows them."""

    columns: Sequence[Column] = (
        Column("req", 5, "right"),
        Column("state", 10),
        Column("prompt", 6, "right", 1),
        Column("out", 4, "right", 1),
        Column("hit", 4, "right", 2),
        Column("blk", 4, "right", 3),
        Column("progress", 12, priority=4),
        Column("last tokens"),
    )
    states: ClassVar[list[tuple[str, Ink]]] = [
        ("RUNNING", "decode"), ("RUNNING", "decode"), ("PREFILLING", "prefill"), ("WAITING", "waiting"),
        ("PREEMPTED", "preempted"), ("FINISHED", "finished"),
    ]  # fmt: skip

    def __init__(self, count: int) -> None:
        self.count = count
        self.read: set[int] = set()

    def __len__(self) -> int:
        return self.count

    def row(self, index: int) -> Sequence[Line]:
        self.read.add(index)
        state, ink = self.states[index * 7 % 6]
        share = (index * 37 % 100) / 100
        tail = (" return", " fibonacci", "(n", " -", " 日本", NASTY[index % len(NASTY)])[index % 6]
        return (
            str(index),
            Span(state, ink),
            str(90 + index * 13 % 300),
            str(index % 40),
            Span("–", "faint") if index % 4 == 3 else str(index * 16 % 128),
            str(index % 14),
            Bar(share, ink),
            [Span("return n", "dim"), Span(tail, "strong")],
        )

    def changed(self, index: int) -> bool:
        return index % 9 == 2


class Tokens:
    """A source text cut into made-up tokens."""

    def __init__(self, texts: Sequence[str], cached_len: int = 0, prompt_len: int = 0) -> None:
        self.texts = texts
        self.cached_len = cached_len
        self.prompt_len = prompt_len
        self.key: object = id(texts)
        self.read = 0

    def __len__(self) -> int:
        return len(self.texts)

    def text(self, index: int) -> str:
        self.read += 1
        return self.texts[index]

    def shade(self, index: int) -> float | None:
        return None if index < self.prompt_len else abs(math.sin(index * 1.7)) ** 3

    def changed(self, index: int) -> bool:
        return index == len(self.texts) - 1


def source_tokens() -> list[str]:
    tokens: list[str] = []
    for line in SOURCE.splitlines(keepends=True):
        word = ""
        for character in line:
            if word and (not character.isalnum() or not word[-1].isalnum()) and word != " " * len(word):
                tokens.append(word)
                word = ""
            word += character
        tokens.append(word)
    return tokens


class Blocks:
    """A block pool; a few blocks changed, one request lit."""

    def __init__(self, count: int) -> None:
        rng = random.Random(4)
        weights = (4, 2, 5, 1)
        states: list[int] = []
        while len(states) < count:
            run = rng.randint(2, 14)
            states += [int(rng.choices(list(BlockState), weights)[0])] * run
        self.bytes = bytearray(states[:count])
        for index in range(0, count, max(7, count // 9)):
            self.bytes[index] |= CHANGED
        for index in range(min(20, count), min(30, count)):
            self.bytes[index] |= LIT
        self.read = 0

    def __len__(self) -> int:
        return len(self.bytes)

    def states(self, start: int, stop: int) -> bytes:
        self.read += stop - start
        return bytes(self.bytes[start:stop])

    def describe(self, index: int) -> str:
        state = BlockState(self.bytes[index] & 0x0F)
        return f"block {index}  {state.name.lower()}  ref 2  requests 1 2  tokens 16/16  written at step 12"


class Lanes:
    """Requests over steps."""

    def __init__(self, lanes: int, steps: int) -> None:
        self.lanes, self.steps = lanes, steps
        self.read = 0

    def __len__(self) -> int:
        return self.lanes

    def label(self, lane: int) -> str:
        return f"req {lane + 1}"

    def phases(self, lane: int, start: int, stop: int) -> bytes:
        self.read += 1
        arrival = lane * 9 % 37
        return bytes(self._phase(lane, step - arrival) for step in range(start, stop))

    def _phase(self, lane: int, age: int) -> Phase:
        length = 60 + lane * 11 % 30
        if age < 0 or age > length:
            return Phase.NONE
        edges = [(3 + lane % 4, Phase.WAITING), (5 + lane % 6, Phase.CACHED), (13 + lane % 3, Phase.PREFILL)]
        for edge, phase in edges:
            if age < edge:
                return phase
        if lane % 3 == 2 and 30 <= age < 40:
            return Phase.PREEMPTED if age == 30 else Phase.WAITING if age < 37 else Phase.PREFILL
        return Phase.DECODE

    def changed(self, lane: int) -> bool:
        return lane == 2


class Wave:
    """A series over steps."""

    def __init__(self, name: str, ink: Ink, limit: float, steps: int, shape: Callable[[int], float]) -> None:
        self.name, self.ink, self.limit, self.steps, self.shape = name, ink, limit, steps, shape

    def __len__(self) -> int:
        return self.steps

    def values(self, start: int, stop: int) -> Sequence[float]:
        return [self.shape(step) for step in range(start, min(stop, self.steps))]

    def written(self, value: float) -> str:
        return f"{value:.0f}"


class Radix:
    """A tree of `fan` children a node, `depth` deep."""

    columns: Sequence[Column] = (
        Column("len", 5, "right"),
        Column("ref", 3, "right", 1),
        Column("hits", 5, "right", 2),
        Column("last use", 8, "right", 3),
        Column("state", 9, priority=4),
    )

    def __init__(self, count: int = 40, fan: int = 3) -> None:
        self.count, self.fan = count, fan

    def roots(self) -> Sequence[int]:
        return (0,)

    def children(self, node: int) -> Sequence[int]:
        first = node * self.fan + 1
        return range(first, min(first + self.fan, self.count))

    def label(self, node: int) -> Line:
        texts = [
            "def fibonacci(n):⏎",
            "    if n < 2:",
            "⏎        return n",
            "import os⏎",
            NASTY[node % len(NASTY)],
        ]
        return [Span(f"#{node} ", "dim"), texts[node % 5]] if node else Span("root", "dim")

    def cells(self, node: int) -> Sequence[Line]:
        protected = node % 3 == 0
        return (
            str(16 * (node % 5 + 1)),
            str(node % 3),
            str(node * 7 % 90),
            f"step {node % 43}",
            Span("protected", "kv-owned") if protected else Span("evictable", "kv-cached"),
        )

    def changed(self, node: int) -> bool:
        return node in (4, 11)

    def lit(self, node: int) -> bool:
        return node in (0, 1, 4)


def attention(rows: int, columns: int, seed: int = 0) -> Any:
    """A causal pattern with a sink, a local band and an induction stripe; rows sum to 1."""
    rng = np.random.default_rng(seed)
    q, k = np.arange(rows)[:, None] + columns - rows, np.arange(columns)[None, :]
    weights = rng.random((rows, columns)) * 0.3 + np.exp(-np.abs(q - k) / (1 + seed % 5)) * 3
    weights = weights + (np.abs(q - k - columns // 3) < 1) * (4 if seed % 3 == 1 else 0.2)
    weights[:, 0] += 2 + seed % 4
    weights = np.where(k <= q, weights, 0)
    return np.where(k <= q, weights / weights.sum(axis=1, keepdims=True), np.nan).astype(np.float32)


class Heads:
    """Attention maps for a few layers of grouped heads."""

    heads_per_kv = 3

    def __init__(self, layers: int = 6, heads: int = 6, tokens: int = 24) -> None:
        self.layers, self.heads, self.tokens = layers, heads, tokens
        self.read = 0

    def values(self, layer: int, head: int) -> Any:
        self.read += 1
        return attention(self.tokens, self.tokens, layer * self.heads + head)

    def note(self, layer: int, head: int) -> str:
        return f"entropy {1 + head * 0.21:.2f}  sink {0.1 * (layer + 1):.2f}  mean distance {3 * head + 1}"


DECISIONS: list[Line] = [
    [Span("1 2 decode", "decode"), ": both running, 1 token each"],
    [Span("4 prefill", "prefill"), ": chunk 2, 64 of 300 tokens, ", Span("budget 66 / 128", "strong")],
    [Span("5 waits", "waiting"), ": no free blocks, needs 6 > ", Span("4 free + 0 evictable", "bad")],
    [
        Span("3 preempted", "preempted"),
        ": request 1 needed 1 block; last come of 1 2 3; gave up 9 blocks, 131 tokens to recompute at most, "
        "fewer if the tree still has them at resume",
    ],
]

FACTS = [
    Fact("Block 12"),
    Fact("state", Span("shared", "kv-shared")),
    Fact("ref count", "2"),
    Fact("requests", ["1", Span("  position 0–15", "dim")]),
    Fact("hash", Span("9f31c2a86be0d417", "dim")),
    Fact("written", "step 3 by request 1, and then read by request 2 from step 5 on when it matched the prefix"),
    Fact("Slots"),
    Fact("0", "' def'"),
    Fact("1", "' fibonacci'"),
]

SHARES = [
    Share("' return'", 0.55),
    Share("' raise'", 0.26),
    Share("' yield'", 0.12),
    Share("' self'", 0.04),
    Share("'日'", 0.03),
]


class StepMarks:
    """A timeline model over one byte a step."""

    def __init__(self, marks: bytes | bytearray) -> None:
        self.marks = marks

    def __len__(self) -> int:
        return len(self.marks)

    def strongest(self, start: int, stop: int) -> StepMark:
        found = (mark for mark in reversed(StepMark) if self.marks.find(mark, start, stop) >= 0)
        return next(found, StepMark.IDLE)


def marks(steps: int) -> StepMarks:
    rng = random.Random(7)
    weights = [2, 30, 8, 1, 0.6, 0.6, 0.2]
    return StepMarks(bytes(int(mark) for mark in rng.choices(list(StepMark), weights, k=steps)))


class WidgetApp(App[None]):
    """An app with our themes and style sheet and nothing else."""

    CSS_PATH = Path(workbench.widgets.__file__).parent / "widgets.tcss"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, *panes: LinePane, theme: str = "workbench-dark", ascii_glyphs: bool = False) -> None:
        super().__init__()
        self.glyphs = ASCII if ascii_glyphs else UNICODE
        for each in THEMES:
            self.register_theme(each)
        self.theme = theme
        self.set_class(ascii_glyphs, "-ascii")
        self.panes = panes

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return colours_for(self.current_theme)

    def compose(self) -> ComposeResult:
        yield from self.panes


def framed(pane: LinePane, title: str) -> LinePane:
    pane.add_class("framed")
    pane.border_title = title
    return pane


class Gallery(WidgetApp):
    """Pages of panes; `n` turns the page, `t` the theme. GALLERY_THEME, GALLERY_GLYPHS choose the start."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "turn", "Next page"),
        Binding("t", "other_theme", "Theme"),
    ]

    def __init__(self) -> None:
        theme = os.environ.get("GALLERY_THEME", "workbench-dark")
        super().__init__(theme=theme, ascii_glyphs=os.environ.get("GALLERY_GLYPHS") == "ascii")
        self.page = int(os.environ.get("GALLERY_PAGE", "0"))

    def compose(self) -> ComposeResult:
        yield Vertical(id="page")

    async def on_mount(self) -> None:
        await self.show_page()

    async def action_turn(self) -> None:
        self.page = (self.page + 1) % len(PAGES)
        await self.show_page()

    def action_other_theme(self) -> None:
        self.theme = "workbench-light" if self.theme == "workbench-dark" else "workbench-dark"

    async def show_page(self) -> None:
        page = self.query_one("#page")
        await page.remove_children()
        await page.mount_all(PAGES[self.page]())
        self.query(LinePane).first().focus()


def overview() -> list[Any]:
    table = LineTable(Rows(12))
    text = TokenText(Tokens(source_tokens(), 40, 70))
    budget = BudgetBar()
    budget.set_parts([Part(1, "decode", "1"), Part(1, "decode", "2"), Part(64, "prefill", "4")], 128)
    blocks = BlockMap(Blocks(256))
    timeline = Timeline(marks(240))
    timeline.cursor = 200
    return [
        Horizontal(framed(table, "requests"), framed(text, "request 1")),
        Horizontal(framed(blocks, "KV blocks"), framed(TextPane(DECISIONS, selectable=True), "decisions")),
        budget,
        timeline,
    ]


def tokens() -> list[Any]:
    cdf = CdfBar()
    cdf.set_draw(SHARES, 0.6132)
    text = TokenText(Tokens(source_tokens(), 40, 70))
    text.cursor = 90
    return [
        Horizontal(framed(text, "text"), framed(DetailPane(FACTS), "block")),
        framed(TextPane([]), "nothing"),
        cdf,
    ]


def heat() -> list[Any]:
    texts = [text.replace("\n", "⏎") for text in source_tokens()]
    big = Heatmap(Matrix(attention(28, 28, 1), texts, texts, "q", "k"))
    big.row, big.column = 20, 11
    long = Heatmap(Matrix(attention(300, 300, 7), row_name="q", column_name="k", scale="sqrt"))
    long.row, long.column = 200, 100
    return [Horizontal(framed(HeatGrid(Heads()), "heads"), framed(big, "layer 3 head 2")), framed(long, "pooled")]


def scheduler() -> list[Any]:
    gantt = Gantt(Lanes(14, 140))
    gantt.row, gantt.column = 2, 96
    chart = StepChart([
        Wave("waiting", "waiting", 0, 140, lambda step: 4 + 4 * math.sin(step / 9)),
        Wave("KV blocks", "kv-owned", 256, 140, lambda step: 128 + 120 * math.sin(step / 31)),
        Wave("budget", "prefill", 128, 140, lambda step: step * 29 % 128 if step % 7 < 4 else 4),
    ])  # fmt: skip
    chart.cursor = 96
    return [framed(gantt, "requests over steps"), framed(chart, "over time")]


def tree() -> list[Any]:
    view = LineTree(Radix(), title="prefix")
    view.unfolded |= {1, 2, 4}
    view.set_model(view.model)
    view.cursor = 5
    return [framed(view, "radix tree"), framed(BlockMap(Blocks(100_000)), "100,000 blocks")]


PAGES: list[Callable[[], list[Any]]] = [overview, tokens, heat, scheduler, tree]

if __name__ == "__main__":
    Gallery().run()
