"""What a plugin is, and everything it needs: `from plugins.contract import ...`. See docs/plugins.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from engine.admission import SchedulingPolicy, Waits
from engine.changed_logits import Changed
from engine.drafting import Draft
from engine.drafts import Drafter, DraftRequest
from engine.events import Spread
from engine.kv.eviction import EvictionPolicy
from engine.plug_guard import ContractError
from engine.plugs import LogitsProcessor, LogitsRow, NoOptions, WeightTransform
from engine.plugs_files import Exporter, Imported, Importer, Recording
from engine.plugs_kv import Drop, KVHost, KVOfRequest, KVPolicy
from engine.plugs_pool import KVStore
from engine.plugs_sampler import SamplerFilter, SamplerTransform
from engine.plugs_screen import Command, Panel, Seen, View

__all__ = [
    "CAPABILITIES", "Changed", "Command", "ContractError", "Draft", "DraftRequest", "Drafter", "Drop",
    "EvictionPolicy", "Exporter", "Imported", "Importer", "KVHost", "KVOfRequest", "KVPolicy", "KVStore",
    "LogitsProcessor", "LogitsRow", "NoOptions", "Panel", "Plugin", "Recording", "SamplerFilter",
    "SamplerTransform", "SchedulingPolicy", "Seen", "Spread", "View", "Waits", "WeightTransform",
]  # fmt: skip


class Plugin(Protocol):
    """What an entry point of the group `workbench.plugins`, or the `plugin` of a file, is.

    Its module is imported when it is named, shown or listed, in the command's process and in the engine's, and
    must not import torch before `provide` is called.
    """

    name: str
    """Small letters, digits and `-`; what `--plugin` and the session call it."""
    version: str
    description: str
    """One line."""
    options: type[msgspec.Struct]
    """Fields with types, defaults and `msgspec.Meta(description=…)`; `NoOptions` where it has none."""

    def provide(self, options: msgspec.Struct) -> Sequence[object]:
        """Called in each process that uses it, with checked options; returns what it brings, in any number.

        Each has the attributes and the method of one of `CAPABILITIES`, or of several. When it raises, the
        command ends with one line, before anything runs.
        """
        ...


CAPABILITIES: Final[dict[str, tuple[str, type]]] = {
    "scheduling policy": ("order_waiting", SchedulingPolicy),
    "eviction policy": ("eviction_key", EvictionPolicy),
    "logits processor": ("process_logits", LogitsProcessor),
    "sampler transform": ("transform_logits", SamplerTransform),
    "sampler filter": ("cut_ranking", SamplerFilter),
    "weight transform": ("prepare_weights", WeightTransform),
    "KV store": ("make_pool", KVStore),
    "KV policy": ("drop_blocks", KVPolicy),
    "KV host": ("keep_block", KVHost),
    "drafter": ("propose_drafts", Drafter),
    "panel": ("panel_lines", Panel),
    "view": ("load_view", View),
    "command": ("run_command", Command),
    "exporter": ("write_export", Exporter),
    "importer": ("read_import", Importer),
}
"""What a plugin can bring: the method that makes an object one, and its protocol."""
