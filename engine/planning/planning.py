"""One plan: it decides what runs next, says why, and changes nothing.

A plan is the list of events that make it true. Order of service is priority, then arrival:

    1. running requests decode one token each; short of blocks, the last-come request is preempted
       (beams of a search decode, and give way, together)
    2. prefills under way compute their next chunk
    3. preempted and waiting requests are admitted until the first that does not fit
    4. whoever decodes verifies what was drafted for it with what is left: that costs nobody anything

all within one token budget. An admitted request gets the blocks for all its tokens at once, so a prefill
under way never needs more; a decoding request gets a block when it crosses into it.
"""

from __future__ import annotations

from engine import events as ev
from engine.planning.admitting import Admitting
from engine.planning.making import Plan
from engine.request import RequestState


class Planning(Admitting):
    """All parts of a plan, in the order of service."""

    def run(self) -> Plan:
        for request in list(self._running.values()):
            if request.state is not RequestState.RUNNING or request.id not in self._running:
                continue
            if request.search is None:
                self._decode(request)
            elif request.id not in self._considered:
                self._decode_beams(request.search)
        for request in list(self._running.values()):
            if request.state is RequestState.PREFILLING and request.id in self._running:
                self._continue(request)
        self._admit()
        self._verify()
        if self._batch:
            self._emit(ev.Scheduled, batch=tuple(self._batch), budget=self._options.token_budget)
        self._plan.batch = tuple(self._batch)
        return self._plan
