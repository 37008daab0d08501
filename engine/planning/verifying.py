"""Whoever decodes verifies what was drafted for it, as far as that costs nobody anything."""

from __future__ import annotations

from engine import events as ev
from engine.drafting import DraftedBy
from engine.overlay import Room, Short
from engine.planning.sizes import blocks_for
from engine.planning.together import Together
from engine.reasons import NoFreeBlocks
from engine.request import Request


class Verifying(Together):
    """The part of a plan that concerns drafts."""

    def _verify(self) -> None:
        """Whoever decodes verifies its drafts with it, as far as budget and blocks go that no decode needs."""
        for at, work in enumerate(self._batch if self._drafts else ()):
            draft = self._drafts.get(work.request)
            if draft is not None:
                used = self._take_drafts(self._running[work.request], draft)
                if used:
                    self._batch[at] = ev.Work(work.request, "verify", work.start, 1 + used)

    def _take_drafts(self, request: Request, drafted: DraftedBy) -> int:
        """Give `request` room for its drafts; how many are verified. Nobody is preempted for them."""
        draft, size = drafted.draft, self._state.blocks.block_size
        used = len(draft)
        cut: ev.CutReason | None = None
        if used > self._left:
            used, cut = self._left, self._budget_spent(used)
        held = max(len(request.table), request.computed // size + 1)
        need = max(0, blocks_for(request.num_tokens + draft.depth(used), size) - held)
        room = self._overlay.find(need)
        if isinstance(room, Short):
            cut = NoFreeBlocks(need, room.free, room.evictable)
            need = room.free + room.evictable
            while draft.depth(used) > (held + need) * size - request.num_tokens:
                used -= 1
            room = self._overlay.find(need)
        assert isinstance(room, Room)
        self._emit(
            ev.Drafted, request=request.id, position=request.num_tokens, method=drafted.method,
            drafts=draft.tokens, q=draft.q, spreads=draft.spreads, parents=draft.parents, used=used, cut=cut,
        )  # fmt: skip
        if need:
            self._evict(room.victims, request.id)
            self._overlay.take(room, request.id)
            self._emit(ev.Allocated, request=request.id, index=held, blocks=room.blocks)
        self._left -= used
        return used
