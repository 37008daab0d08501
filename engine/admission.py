"""Scheduling policies: in which order waiting requests are admitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from engine.plug_guard import ContractError

MOST_COMPARED: Final = 128  # waiting requests that a policy may look at: all of them would cost every step
MOST_OVERTAKING: Final = 128  # later arrivals before a waiting request goes first, whatever is cached of it


@dataclass(frozen=True, slots=True)
class Waits:
    """A request that waits to be admitted; `tokens` are its prompt and what it has generated.

    `count_cached` walks the radix tree when it is called: how many blocks of those tokens are cached.
    """

    request: str
    priority: int
    arrival: int
    tokens: int
    submitted_step: int
    preemptions: int
    count_cached: Callable[[], int]


@runtime_checkable
class SchedulingPolicy(Protocol):
    """An order of admission, chosen with `--policy NAME`, or while running with `set policy NAME`.

    A policy is a function of what it is given: plans are made again when a session is replayed. When a hook
    raises, takes longer than 2 s or breaks its contract, the plugin is disabled, the plan under way is made
    anew with `fcfs`, and requests are admitted first come, first served from then on.
    """

    name: str
    compares: int
    """How many of the longest-waiting requests it wants to see, 0 to 128; those behind follow as they came."""

    def order_waiting(self, waiting: Sequence[Waits]) -> Sequence[Waits]:
        """Called once a plan while requests wait. The same requests, first to be admitted first.

        `waiting` comes in order of priority, then arrival. The engine admits until the first that does not
        fit. To return others than were given, one twice or not all breaks the contract.
        """
        ...


class FCFS:
    """First come, first served: priority, then arrival."""

    name = "fcfs"
    meaning = "first come, first served"
    compares = 0

    def order_waiting(self, waiting: Sequence[Waits]) -> Sequence[Waits]:
        return waiting


class LPM:
    """The longest cached prefix first, within a priority; but nobody is overtaken for ever.

    A prompt that nothing cached begins like would wait as long as others with a cached prefix keep coming. One
    that `MOST_OVERTAKING` have come after goes before those that are not as late, so that fewer than so many
    later requests of its priority are served before it.
    """

    name = "lpm"
    meaning = "the longest cached prefix first"
    compares = MOST_COMPARED

    def order_waiting(self, waiting: Sequence[Waits]) -> Sequence[Waits]:
        newest = max((each.arrival for each in waiting), default=0)

        def rank(each: Waits) -> tuple[int, bool, int, int]:
            late = newest - each.arrival >= MOST_OVERTAKING
            return -each.priority, not late, 0 if late else -each.count_cached(), each.arrival

        return sorted(waiting, key=rank)


DEFAULT: Final = "fcfs"
POLICIES: Final[dict[str, SchedulingPolicy]] = {"fcfs": FCFS(), "lpm": LPM()}
"""The policies that this process knows, by name."""


def policy_named(name: str) -> SchedulingPolicy:
    """The policy of that name. Raises ContractError where this process does not know it."""
    found = POLICIES.get(name)
    if found is None:
        raise ContractError(f"scheduling policy {name} is not loaded here")
    return found


def meaning(policy: str) -> str:
    """What a policy does, in a few words; "" where nothing is said."""
    return str(getattr(POLICIES.get(policy), "meaning", ""))
