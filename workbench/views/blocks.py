"""View 4, Blocks: where is its memory?"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.css.scalar import Scalar

from engine.kv.holes import HOLE
from engine.state import Request
from engine.wording import plural
from workbench.actions import Action
from workbench.astext import facts, heading, paragraphs, table
from workbench.bench import News, Scene
from workbench.view import Drop, View
from workbench.views.blocks_facts import block_lines, chosen_block
from workbench.views.blocks_history import MOST_CHANGES, BlockHistory
from workbench.views.blocks_memory import MemoryTable, RequestMemory, per_token
from workbench.views.blocks_pool import NamedPool
from workbench.views.blocks_slots import Slots
from workbench.views.blocks_table import BlockTable
from workbench.widgets.blockmap import BlockMap
from workbench.widgets.messages import Activated, CursorMoved
from workbench.widgets.table import LineTable
from workbench.widgets.textpane import Fact, TextPane

LEAST_POOL_LINES = 7
TITLES = {
    "blocks-map": "KV pool",
    "blocks-table": "block table",
    "blocks-block": "block",
    "blocks-slots": "slots",
    "blocks-history": "history",
    "blocks-memory": "memory",
    "blocks-requests": "memory by request",
}


class Shown(NamedTuple):
    """The chosen block at one moment."""

    block: int
    slots: Slots
    history: BlockHistory

    @classmethod
    def of(cls, scene: Scene) -> Shown:
        block = chosen_block(scene)
        changes = scene.record.latest_block_changes(block, scene.moment.step, MOST_CHANGES)
        return cls(block, Slots(scene, block, changes), BlockHistory(changes, scene.moment.step))


class BlocksView(View):
    """The pool as a map, the selected request's table, a block inside out, and the account of memory."""

    view_name = "blocks"
    number = 4
    title = "Blocks"
    question = "where is its memory?"
    help_text = (
        "The KV cache is a pool of blocks, each with room for so many tokens. A request's block table says which"
        " physical block holds which of its positions. Blocks that several tables hold are shared; those that the"
        " radix tree keeps for a later hit are cached, and are evicted when room is needed."
        " Enter in the history goes to that moment, enter on a slot opens its token."
    )
    drops = (
        Drop("blocks-bottom", 100, 28),
        Drop("blocks-history", 100),
    )

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._shown: Shown | None = None
        self._only_memory = False

    def compose(self) -> ComposeResult:
        with Horizontal(id="blocks-top"):
            with Vertical(id="blocks-left"):
                with Vertical(id="blocks-pool"):
                    yield BlockMap(id="blocks-map", classes="framed")
                yield LineTable(id="blocks-table", classes="framed", empty="Select a request to see its blocks.")
            with Vertical(id="blocks-right"):
                yield TextPane(id="blocks-block", classes="framed")
                with Horizontal(id="blocks-inside"):
                    yield LineTable(id="blocks-slots", classes="framed", empty="A free block holds nothing.")
                    yield LineTable(
                        id="blocks-history", classes="framed", empty="No request has had this block yet."
                    )
        with Horizontal(id="blocks-bottom"):
            yield LineTable(id="blocks-memory", classes="framed")
            yield LineTable(id="blocks-requests", classes="framed", empty="No request holds a block now.")

    def on_mount(self) -> None:
        for pane, title in TITLES.items():
            self.query_one(f"#{pane}").border_title = title
        self.query_one("#blocks-bottom").border_title = "memory"

    def _table(self, pane: str) -> LineTable:
        return self.query_one(f"#blocks-{pane}", LineTable)

    # -- showing -------------------------------------------------------------------------------------

    def show(self, scene: Scene, news: News) -> None:
        if not news & (News.MOMENT | News.SELECTION | News.RECORD):
            return
        before, self._shown = self._shown, Shown.of(scene)
        if news & News.MOMENT or before is None or before.block != self._shown.block:
            self._table("history").show_cursor(0)
        self._show_pool(scene, self._shown.block)
        self._show_table(scene, self._shown.block)
        self._show_block(scene, self._shown)
        if news & (News.MOMENT | News.RECORD):
            self._show_memory(scene)
        self._show_request(scene)

    def _show_pool(self, scene: Scene, block: int) -> None:
        pane, blocks = self.query_one("#blocks-map", BlockMap), scene.moment.state.blocks
        pane.set_model(NamedPool(scene.moment, scene.selection.request, scene.glyphs))
        pane.border_title = f"KV pool: {blocks.num_blocks:,} blocks of {plural(blocks.block_size, 'token')}"
        pane.border_subtitle = _changed(len(scene.moment.changes.blocks))
        pane.show_cursor(block)
        self._fit_pool()

    def _fit_pool(self) -> None:
        """Give the map the lines it needs to be read best, and the table the rest."""
        pane, left = self.query_one("#blocks-map", BlockMap), self.query_one("#blocks-left")
        pool = self.query_one("#blocks-pool")
        lines = max(LEAST_POOL_LINES, min(pane.best_height + 2, left.size.height * 3 // 5))
        if left.size.height and pool.styles.height != Scalar.from_number(lines):
            pool.styles.height = lines

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self._show_parts()
        self.call_after_refresh(self._fit_pool)

    def _show_parts(self) -> None:
        """The account of memory alone, or everything that there is room for."""
        bottom = self.query_one("#blocks-bottom")
        self.query_one("#blocks-top").display = not self._only_memory
        if self._only_memory:
            bottom.display = True
        bottom.set_class(self._only_memory, "-alone")

    def _show_table(self, scene: Scene, block: int) -> None:
        pane, request = self._table("table"), scene.selection.request
        live = scene.moment.live_request(request)
        pane.empty = why_no_table(scene)
        pane.border_title = "block table" if request is None else f"block table of request {request}"
        if live is None or not live.table:
            pane.set_model(None)
            pane.border_subtitle = ""
            return
        model = BlockTable(scene, live)
        pane.set_model(model)
        pane.border_subtitle = said_of_table(scene, live)
        row = model.index_of(block)
        pane.quiet = row is None
        if row is not None:
            pane.show_cursor(row)

    def _show_block(self, scene: Scene, shown: Shown) -> None:
        facts_pane = self.query_one("#blocks-block", TextPane)
        facts_pane.border_title = f"block {shown.block}"
        facts_pane.set_lines(block_lines(scene, shown.block, shown.slots, shown.history.changes))
        slots, history = self._table("slots"), self._table("history")
        slots.set_model(shown.slots)
        slots.border_title = f"slots of block {shown.block}"
        slot = slot_of(scene, shown.slots)
        slots.quiet = slot is None
        if slot is not None:
            slots.show_cursor(slot)
        history.set_model(shown.history)
        history.border_subtitle = "t: to its last change" if len(shown.history) else ""
        history.quiet = True

    def _show_memory(self, scene: Scene) -> None:
        memory = self._table("memory")
        memory.set_model(MemoryTable(scene))
        memory.quiet = True
        memory.border_subtitle = f"a token: {per_token(scene.record.about, scene.glyphs.times)}"

    def _show_request(self, scene: Scene) -> None:
        requests, model = self._table("requests"), RequestMemory(scene)
        requests.set_model(model)
        row = model.index_of(scene.selection.request)
        requests.quiet = row is None
        if row is not None:
            requests.show_cursor(row)

    # -- what a person does --------------------------------------------------------------------------

    def on_cursor_moved(self, message: CursorMoved) -> None:
        chosen, model = self.scene.selection, getattr(message.pane, "model", None)
        if message.pane.id == "blocks-map":
            self.bench.select(replace(chosen, block=message.index))
        elif isinstance(model, BlockTable):
            if (block := model.table[message.index]) != HOLE:
                self.bench.select(replace(chosen, block=block))
        elif isinstance(model, RequestMemory):
            self.bench.select(replace(chosen, request=model.requests[message.index].id, block=None))

    def on_activated(self, message: Activated) -> None:
        pane, shown = message.pane, self._shown
        if shown is None:
            return
        if pane.id == "blocks-history":
            self._go_to(self._table("history").cursor)
        elif pane.id == "blocks-slots":
            self._open_token(self._table("slots").cursor)
        elif pane.id in ("blocks-map", "blocks-table", "blocks-block"):
            self._open_node(shown.block)
        elif pane.id == "blocks-requests":
            self.bench.open_view("tokens")

    def _go_to(self, row: int) -> None:
        assert self._shown is not None
        change, block = self._shown.history.changes[row], self._shown.block
        self.bench.seek(change.step)
        self.bench.select(replace(self.scene.selection, block=block, step=change.step))

    def _open_token(self, slot: int) -> None:
        """The token whose own row lies in the slot."""
        assert self._shown is not None
        slots = self._shown.slots
        if slots.writer is None or slot >= self.scene.moment.state.blocks.fill[self._shown.block]:
            self.bench.say("that slot is empty")
            return
        chosen = replace(self.scene.selection, request=slots.writer, position=slots.start + slot, own_row=True)
        self.bench.select(replace(chosen, block=self._shown.block))
        self.bench.open_view("tokens")

    def _open_node(self, block: int) -> None:
        node = self.scene.moment.state.blocks.node[block]
        if node < 0:
            self.bench.say(f"block {block} is not in the radix tree, so there is no node to open")
            return
        self.bench.select(replace(self.scene.selection, block=block, node=node))
        self.bench.open_view("radix")

    def toggle_memory(self) -> None:
        """Give the account of memory all the room, or put everything back."""
        self._only_memory = not self._only_memory
        self._show_parts()
        if not self._only_memory:
            super().on_resize(events.Resize(self.size, self.size))
        self.query_one("#blocks-memory" if self._only_memory else "#blocks-map").focus()
        self.post_message(self.Rearranged())

    @property
    def dropped(self) -> list[str]:
        if self._only_memory:
            return ["the blocks (m shows them)"]
        return [f"{name} (m shows it)" if name == "memory" else name for name in super().dropped]

    def back(self) -> bool:
        """Put everything back where only the account was shown."""
        if self._only_memory:
            self.toggle_memory()
            return True
        return False

    def to_last_change(self) -> None:
        """Go to the step that last changed the chosen block."""
        if self._shown is not None and len(self._shown.history):
            self._go_to(0)

    def why_no_change(self) -> str | None:
        shown = self._shown
        return None if shown is not None and len(shown.history) else "nothing has happened to this block yet"

    def search(self, wanted: str, direction: int) -> str:  # noqa: ARG002
        """Go to the block of a number."""
        pool = self.scene.moment.state.blocks.num_blocks
        if not wanted.isdecimal() or int(wanted) >= pool:
            return f"search takes a block's number here, from 0 to {pool - 1:,}"
        self.bench.select(replace(self.scene.selection, block=int(wanted)))
        return f"block {int(wanted):,}"

    # -- as text -------------------------------------------------------------------------------------

    def text(self, scene: Scene, width: int) -> str:
        blocks, shown = scene.moment.state.blocks, Shown.of(scene)
        pool = f"{blocks.num_blocks:,} blocks of {blocks.block_size} tokens, {blocks.owned:,} owned,"
        lines = [heading("KV pool", width)]
        lines += paragraphs([f"{pool} {blocks.cached:,} cached, {len(blocks.free):,} free"], width)
        live = scene.moment.live_request(scene.selection.request)
        lines.append(heading(f"block table of request {scene.selection.request}", width))
        lines += (
            table(BlockTable(scene, live), width)
            if live and live.table
            else paragraphs([why_no_table(scene)], width)
        )
        lines.append(heading(f"block {shown.block}", width))
        lines += paragraphs(block_lines(scene, shown.block, shown.slots, shown.history.changes), width)
        lines += [*table(shown.slots, width), heading("history", width), *table(shown.history, width)]
        lines += [heading("memory", width), *facts([Fact("a token", per_token(scene.record.about))], width)]
        lines += [*table(MemoryTable(scene), width), heading("memory by request", width)]
        return "\n".join([*lines, *table(RequestMemory(scene), width)])

    actions = (
        Action(
            "blocks.memory", ("m",), "Only the account of memory, or everything", "View", toggle_memory, "memory",
            help="For terminals that have no room for it beside the rest.",
        ),
        Action(
            "blocks.last_change", ("t",), "Go to the block's last change", "Go", to_last_change, "last change",
            why_no_change, "The moment when the block last changed hands, was cached or evicted.",
        ),
    )  # fmt: skip


def why_no_table(scene: Scene) -> str:
    """Why there is no block table to show, and what would show one."""
    request = scene.selection.request
    if request is None:
        return "No request yet: p submits a prompt."
    state = scene.moment.state_of(request)
    if state is None:
        return f"Request {request} has not arrived yet: ] goes forward."
    if (live := scene.moment.live_request(request)) is None:
        return f"Request {request} has ended and gave its blocks back: [ goes back to when it ran."
    return f"Request {request} is {live.state} and holds no blocks; a row in `memory by request` selects another."


def said_of_table(scene: Scene, live: Request) -> str:
    """How much the table holds, and what of it the selected token's row read."""
    row, size = scene.selection.row, scene.moment.state.blocks.block_size
    gone = len(live.dropped)
    held = f"{live.computed - gone * size:,} tokens in {len(live.held_blocks):,} blocks"
    held += f", {gone:,} dropped" if gone else ""
    if row is None or row >= live.computed:
        return held
    unread = sum(first <= row for first in live.dropped.values())
    without = f" but {unread:,} dropped" if unread else ""
    return f"row {row:,} reads index 0 to {row // size}{without} · {held}"


def slot_of(scene: Scene, slots: Slots) -> int | None:
    """The slot that holds the KV of the row shown, if it lies in this block."""
    row = scene.selection.row
    if row is None or slots.writer is None:
        return None
    slot = row - slots.start
    return slot if 0 <= slot < len(slots) else None


def _changed(count: int) -> str:
    return f"{count:,} changed in this step" if count else "none changed in this step"


__all__ = ["BlocksView"]
