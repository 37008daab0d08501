"""The engine's own policies, as a plugin."""

from __future__ import annotations

from collections.abc import Sequence

from engine.admission import FCFS, LPM
from engine.kv.eviction import LRU
from plugins.contract import NoOptions


class Policies:
    """Always on: the engine plans with `fcfs` and `lru` where nothing else is asked for."""

    name = "policies"
    version = "1"
    description = "Admission fcfs and lpm, eviction lru."
    options = NoOptions

    def provide(self, _options: NoOptions) -> Sequence[object]:
        return (FCFS(), LPM(), LRU())
