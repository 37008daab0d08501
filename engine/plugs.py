"""What plugins give to an engine: the protocols of the other hooks, and who is asked in this run.

The engine defines what it calls; who finds and loads plugins is not its business. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from engine import admission
from engine.changed_logits import Changed, Processed
from engine.drafts import GuardedDrafter
from engine.events import OffloadLost, PluginDisabled
from engine.kv import eviction
from engine.kv.blocks import Blocks
from engine.option_error import OptionError
from engine.params import EngineOptions
from engine.plug_guard import ContractError, PluginFailedError, call_hook
from engine.plugs_kv import Drop, GuardedKVPolicy, KVHost, KVOfRequest
from engine.plugs_pool import KVStore

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Row = npt.NDArray[np.float32]


class NoOptions(msgspec.Struct, frozen=True):
    """The options of a plugin that has none."""


@dataclass(frozen=True, slots=True, eq=False)
class LogitsRow:
    """The logits [vocab], read-only, from which `request` gets its token for `position`.

    `tokens` are those before it, the first `prompt_tokens` of them the prompt.
    """

    request: str
    position: int
    prompt_tokens: int
    tokens: Sequence[int]
    logits: Row


@runtime_checkable
class LogitsProcessor(Protocol):
    """A sampler stage of its own, before all others: it sees the logits as the model made them.

    A processor is a function of what it is given: the same token is chosen again when a session is replayed or
    rewound. What it changes is recorded (`logits_changed`) and shown in Tokens under the plugin's name.
    When it raises, takes longer than 2 s or breaks its contract, the plugin is disabled, and that token and all
    later ones are chosen without it.
    """

    def process_logits(self, row: LogitsRow) -> Changed | None:
        """Called for every token to be chosen, in the order of the batch, in the engine's process.

        Returns the logits that change, None when none does. It may name at most 65,536 ids of the vocabulary,
        with finite values, and must leave a token that can be chosen.
        """
        ...


@runtime_checkable
class WeightTransform(Protocol):
    """Keeps the weights of projections in another form, such as a quantized one. At most one in a run.

    When it raises, the plugin is disabled before the first step, and the weights are loaded plain.
    """

    def prepare_weights(self, folder: Path, dtype: str) -> Callable[..., Any]:
        """Called once, before the weights of the model in `folder` are loaded; there is no deadline.

        What it returns, an `engine.model.projection.MakeProjection`, is called for every projection in turn with
        its `Place`, the weight [out, in] and the bias [out] or None, both in `dtype`, and returns an
        `engine.model.projection.Projection`, which computes `x [rows, in] -> [rows, out]`.
        """
        ...


@dataclass(slots=True)
class Plugs:
    """Who is asked in one run, by plugin: built-in policies belong to nobody and cannot be disabled."""

    policies: dict[str, str] = field(default_factory=dict)  # by the policy's name, the plugin
    evictions: dict[str, str] = field(default_factory=dict)
    processors: list[tuple[str, LogitsProcessor]] = field(default_factory=list)
    transform: tuple[str, WeightTransform] | None = None
    store: tuple[str, KVStore] | None = None
    kv_policy: GuardedKVPolicy | None = None
    kv_host: tuple[str, KVHost] | None = None
    drafter: GuardedDrafter | None = None
    disabled: dict[str, PluginFailedError] = field(default_factory=dict)
    expected: dict[tuple[str, str, int], PluginDisabled] = field(default_factory=dict)
    """Failures of processors that a record has and its replay repeats, by plugin, request and position."""

    when_disabled: Callable[[PluginFailedError], None] | None = None  # told once of each
    when_lost: Callable[[OffloadLost], None] | None = None  # told once of each reason
    _told: set[str] = field(default_factory=set)

    @property
    def drafts(self) -> GuardedDrafter | None:
        """Who drafts: None where nobody does, or not any more."""
        return None if self.drafter is None or self.drafter.plugin in self.disabled else self.drafter

    def disable(self, failure: PluginFailedError) -> None:
        """Ask the plugin no more."""
        if failure.plugin not in self.disabled and self.when_disabled is not None:
            self.when_disabled(failure)
        self.disabled.setdefault(failure.plugin, failure)

    def tell_lost(self, event: OffloadLost) -> None:
        """A host file could not be written or read."""
        if self.when_lost is not None and event.why not in self._told:
            self._told.add(event.why)
            self.when_lost(event)

    def policy_after(self, plugin: str, policy: str) -> str | None:
        """What takes the place of `policy` once `plugin` is disabled; None where it stays."""
        return admission.DEFAULT if self.policies.get(policy) == plugin else None

    def eviction_after(self, plugin: str, policy: str) -> str | None:
        return eviction.DEFAULT if self.evictions.get(policy) == plugin else None

    def check_policy(self, policy: str) -> None:
        """Raise OptionError where requests cannot be admitted by `policy`."""
        plugin = self.policies.get(policy)
        if plugin in self.disabled:
            raise OptionError(f"policy is {policy!r}: its plugin {plugin} is disabled")
        _known("policy", policy, admission.POLICIES)

    def process(
        self, raw: Row, request: str, prompt_tokens: int, tokens: Sequence[int]
    ) -> tuple[tuple[Processed, ...], tuple[PluginFailedError, ...]]:
        """What processors change of `raw` [vocab], one after the other, and who failed at it."""
        done: list[Processed] = []
        failed: list[PluginFailedError] = []
        logits = raw
        for plugin, processor in self.processors:
            if plugin in self.disabled:
                continue
            row = LogitsRow(request, len(tokens), prompt_tokens, tokens, _read_only(logits))
            try:
                change = self._asked(plugin, processor, row)
            except PluginFailedError as failure:
                self.disable(failure)
                failed.append(failure)
                continue
            if change is not None and change.count:
                done.append(Processed(plugin, change))
                logits = change.apply(logits)
        return tuple(done), tuple(failed)

    @property
    def keeps(self) -> GuardedKVPolicy | None:
        """The KV policy that is asked: None where there is none, or not any more."""
        policy = self.kv_policy
        return None if policy is None or policy.plugin in self.disabled else policy

    def drop(self, policy: GuardedKVPolicy, kv: KVOfRequest) -> Drop | None:
        """What `policy` drops. Raises PluginFailedError, and asks it no more."""
        recorded = self.expected.pop((policy.plugin, kv.request, kv.computed), None)
        try:
            if recorded is not None:
                raise PluginFailedError(policy.plugin, recorded.hook, recorded.why, recorded.message)
            return policy.drop_blocks(kv)
        except PluginFailedError as failure:
            self.disable(failure)
            raise

    def _asked(self, plugin: str, processor: LogitsProcessor, row: LogitsRow) -> Changed | None:
        recorded = self.expected.pop((plugin, row.request, row.position), None)
        if recorded is not None:
            raise PluginFailedError(plugin, recorded.hook, recorded.why, recorded.message)
        return call_hook(plugin, "process_logits", lambda: _checked(processor.process_logits(row), row.logits))


def _checked(change: Changed | None, logits: Row) -> Changed | None:
    if change is None:
        return None
    if not isinstance(change, Changed):
        raise ContractError(f"returned {type(change).__name__}, not Changed or None")
    if (problem := change.problem(len(logits))) is not None:
        raise ContractError(problem)
    change = change.as_float32()
    if not math.isfinite(change.apply(logits).max()):
        raise ContractError("left no token that can be chosen")
    return change


def _read_only(logits: Row) -> Row:
    seen = logits.view()
    seen.flags.writeable = False
    return seen


class GuardedPolicy:
    """A plugin's scheduling policy, held to its contract."""

    def __init__(self, plugin: str, policy: admission.SchedulingPolicy) -> None:
        self._plugin, self._policy = plugin, policy
        self.name = policy.name
        self.meaning = str(getattr(policy, "meaning", ""))
        self.compares = max(0, min(int(policy.compares), admission.MOST_COMPARED))

    def order_waiting(self, waiting: Sequence[admission.Waits]) -> Sequence[admission.Waits]:
        return call_hook(self._plugin, "order_waiting", lambda: self._ordered(waiting))

    def _ordered(self, waiting: Sequence[admission.Waits]) -> Sequence[admission.Waits]:
        ordered = list(self._policy.order_waiting(tuple(waiting)))
        if sorted(map(id, ordered)) != sorted(map(id, waiting)):
            raise ContractError(f"returned {len(ordered)} requests that are not the {len(waiting)} it was given")
        return ordered


class GuardedEviction:
    """A plugin's eviction policy, held to its contract."""

    def __init__(self, plugin: str, policy: eviction.EvictionPolicy) -> None:
        self._plugin, self._policy = plugin, policy
        self.name = policy.name
        self.meaning = str(getattr(policy, "meaning", ""))
        self._length: int | None = None

    def eviction_key(self, last_use_step: int, node: int, block: int, blocks: Blocks) -> eviction.Key:
        return call_hook(self._plugin, "eviction_key", lambda: self._key(last_use_step, node, block, blocks))

    def _key(self, last_use_step: int, node: int, block: int, blocks: Blocks) -> eviction.Key:
        key = self._policy.eviction_key(last_use_step, node, block, blocks)
        if not isinstance(key, tuple) or not all(isinstance(part, int) for part in key):
            raise ContractError(f"returned {key!r}, not a tuple of ints")
        self._length = len(key) if self._length is None else self._length
        if len(key) != self._length:
            raise ContractError(f"returned {key!r} after keys of {self._length} numbers")
        return key


def check_policies(options: EngineOptions) -> None:
    """Raise OptionError for policies that this process does not know."""
    _known("policy", options.policy, admission.POLICIES)
    _known("eviction", options.eviction, eviction.POLICIES)


def _known(what: str, name: str, names: Iterable[str]) -> None:
    known = tuple(names)
    if name not in known:
        said = " or ".join(known) if len(known) < 3 else f"one of {', '.join(known)}"
        raise OptionError(f"{what} is {name!r}: use {said}")
