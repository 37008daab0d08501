"""Parts of sentences that several of them have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from engine import events as ev
from engine.reasons import FinishDetail
from engine.sanitise import display_text

TokenText = Callable[[int], str]


def plural(count: int, noun: str) -> str:
    """`1 block`, `2 blocks`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def ranges(numbers: Sequence[int], most: int = 6) -> str:
    """Numbers in the order given, runs joined, the end left out when there are many: `3–6 9 12 …`."""
    starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(numbers)) if b != a + 1), len(numbers)]
    runs = [numbers[start:stop] for start, stop in pairwise(starts) if stop > start]
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return " ".join(parts[:most]) + (" …" if len(parts) > most else "")


def listed(numbers: Sequence[int]) -> str:
    """`block 3`, or `3 blocks (3–4 9)`."""
    return f"block {numbers[0]}" if len(numbers) == 1 else f"{len(numbers):,} blocks ({ranges(numbers)})"


def quoted(token: int, token_text: TokenText) -> str:
    """A token's text in quotes."""
    return f"'{token_text(token)}'"


def joined(requests: Iterable[str]) -> str:
    """Requests, one after the other."""
    return ", ".join(requests)


def room_words(need: int, free: int, evictable: int) -> str:
    """What is needed, and what there is."""
    return f"needs {plural(need, 'block')}, {free} free + {evictable} evictable"


def made_room(for_request: str) -> str:
    """Why blocks left the cache."""
    return "by hand" if for_request == ev.BY_HAND else f"to make room for request {for_request}"


def after_ending(detail: FinishDetail, need: int, limit: int, message: str) -> str:
    """The numbers of a refusal, and the stop string or what the engine said, made harmless."""
    numbers = f" ({need:,} needed, {limit:,} there)" if limit else ""
    said = f"'{display_text(message)}'" if detail == "stop_string" else display_text(message)
    return f"{numbers}: {said}" if message else numbers
