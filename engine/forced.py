"""What a person, or a script, makes the engine do between two steps."""

from __future__ import annotations

from engine import events as ev
from engine.intake import Intake
from engine.kv.dropping import cached_from
from engine.option_error import OptionError
from engine.params import Policy
from engine.plugs import Plugs
from engine.reasons import ByHand


class Forced(Intake):
    """Ends, preempts and evicts by hand. Nothing of it is possible while a step is under way: RuntimeError."""

    plugs: Plugs

    def abort(self, request: str) -> None:
        """End a live request now, keeping what it has generated. KeyError when there is none of that id.

        With a beam its whole search ends.
        """
        self._between_steps()
        live = self.state.requests[request]
        beams = self.state.beams_of(live.search) if live.search is not None else []
        for each in (live, *(beam for beam in beams if beam is not live)):
            self._say(
                ev.Finished, request=each.id, reason="abort", detail="aborted", output_tokens=each.output_tokens
            )

    def preempt(self, request: str) -> None:
        """Take its blocks from a request, as if another needed them. OptionError when it is not running."""
        self._between_steps()
        live = self.state.running.get(request)
        if live is None:
            raise OptionError(f"request {request} is not running: only a running one can be preempted")
        self._say(
            ev.Preempted, request=request, reason=ByHand(), released_blocks=len(live.held_blocks),
            recompute_tokens=live.computed,
        )  # fmt: skip

    def evict(self, block: int) -> None:
        """Drop a cached block, and all cached blocks that follow it. OptionError when a request holds one."""
        self._between_steps()
        for node, blocks in cached_from(self.state, block):
            columns = self.state.blocks
            self._say(
                ev.Evicted, node=node, blocks=blocks, tokens=len(blocks) * columns.block_size,
                hits=sum(columns.hits[b] for b in blocks), last_use_step=max(columns.last_use[b] for b in blocks),
                policy="hand", for_request=ev.BY_HAND,
            )  # fmt: skip

    def set_policy(self, policy: Policy) -> None:
        """Admit in another order from the next step on. OptionError when there is no such policy."""
        self._between_steps()
        self.plugs.check_policy(policy)
        self._say(ev.PolicyChanged, policy=policy)
