"""What rounds of chaos came to: the JSON of `chaos`, and its words. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from workbench.cli.console import print_table

if TYPE_CHECKING:
    from engine.chaos_run import Parting


class PartingResult(msgspec.Struct, frozen=True):
    """Where a request parted from the plain run. `margin` is that of the plain run's top two processed logits.

    `plain` and `chaos` are token ids, null where that run had ended. `allowed` where a near tie explains it.
    """

    request: str
    position: int
    plain: int | None
    chaos: int | None
    margin: float | None
    near_tie: bool
    allowed: bool


class RoundResult(msgspec.Struct, frozen=True):
    """One round. `computed_tokens` counts positions that were computed, some of them more than once."""

    round: int
    steps: int
    preemptions: int
    evicted_blocks: int
    computed_tokens: int
    partings: tuple[PartingResult, ...]
    failed: str | None = None

    @property
    def differs(self) -> bool:
        return self.failed is not None or any(not parting.allowed for parting in self.partings)


class ChaosResult(msgspec.Struct, frozen=True):
    """All rounds. `compared` is what had to be equal: tokens outside near ties, or logits to the bit."""

    holds: bool
    compared: str
    seed: int
    plain_steps: int
    tokens: int
    rounds: tuple[RoundResult, ...]


def parted(parting: Parting, to_the_bit: bool) -> PartingResult:
    """`parting` as data; a near tie explains it unless runs have to agree `to_the_bit`."""
    plain, chaos = parting.plain, parting.chaos
    return PartingResult(
        parting.request,
        parting.position,
        None if plain is None else plain.token,
        None if chaos is None else chaos.token,
        None if plain is None else plain.margin,
        parting.near_tie,
        parting.near_tie and not to_the_bit,
    )


def print_chaos(result: ChaosResult) -> None:
    """A line a round, one for each parting, and what follows from them."""
    head = ("round", "steps", "preempted", "evicted", "computed", "result")
    print_table(head, [_row(round_) for round_ in result.rounds], right=(0, 1, 2, 3, 4))
    for round_ in result.rounds:
        for parting in round_.partings:
            print(f"round {round_.round}: {_words(parting)}")
    print(_verdict(result))


def _row(round_: RoundResult) -> tuple[object, ...]:
    return (
        round_.round,
        round_.steps,
        round_.preemptions,
        round_.evicted_blocks,
        round_.computed_tokens,
        _outcome(round_),
    )


def _outcome(round_: RoundResult) -> str:
    if round_.failed is not None:
        return round_.failed
    if not round_.partings:
        return "the same"
    return "differs" if round_.differs else "near ties only"


def _words(parting: PartingResult) -> str:
    where = f"request {parting.request}, position {parting.position}"
    size = "" if parting.margin is None else f"; the plain run's top two are {parting.margin:.3g} apart"
    tie = ", a near tie" if parting.near_tie else ""
    if parting.plain == parting.chaos:
        return f"{where}: token {parting.plain} from other logits{size}{tie}"
    return f"{where}: {_token(parting.chaos)} for {_token(parting.plain)}{size}{tie}"


def _token(token: int | None) -> str:
    return "nothing" if token is None else f"token {token}"


def _verdict(result: ChaosResult) -> str:
    rounds = f"{len(result.rounds)} rounds" if len(result.rounds) != 1 else "1 round"
    if not result.holds:
        bad = sum(round_.differs for round_ in result.rounds)
        return f"{bad} of {rounds} differ from the plain run"
    if result.compared == "logits":
        return f"{rounds}: {result.tokens:,} tokens each, and their logits, the same to the bit"
    ties = sum(len(round_.partings) for round_ in result.rounds)
    if not ties:
        return f"{rounds}: {result.tokens:,} tokens each, all the same"
    near = "1 near tie" if ties == 1 else f"{ties} near ties"
    return f"{rounds}: {result.tokens:,} tokens each, the same but for {near} and what follows"
