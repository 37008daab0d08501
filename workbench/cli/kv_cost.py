"""`kv-cost`: what a KV policy did to the logits of a recorded run, position by position. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from sessions.header import Header
from sessions.reader import Session
from workbench.cli.console import print_json, print_pairs, print_table, say
from workbench.cli.diff_models import Models
from workbench.cli.errors import CommandError
from workbench.cli.model_finder import resolve_model
from workbench.cli.progress import Progress, progress_bar
from workbench.cli.result import latest_branch
from workbench.cli.session_names import resolve_session
from workbench.model_behind import ModelMissingError

if TYPE_CHECKING:
    from engine.kv_cost import RowPair
    from engine.row_again import RowAgain

MOST_ROWS = 12
"""Positions that are printed: the ones that changed most."""


class PositionCost(msgspec.Struct, frozen=True):
    """The row that chose the token at `position`, which read all but `dropped_tokens` of those before it.

    `kl` is KL(whole cache ‖ as it was) in nats; `top` is its likeliest token, `whole_top` that with all.
    """

    position: int
    dropped_tokens: int
    kl: float
    token: int
    text: str
    top: int
    whole_top: int
    whole_text: str


class RequestCost(msgspec.Struct, frozen=True):
    """A request: the mean of `kl` over all its output tokens, and how often the likeliest token became another.

    `off_record` is the largest distance of its logits, computed again with what was dropped, from those recorded.
    """

    request: str
    tokens: int
    kl_mean: float
    kl_max: float
    top_changed: int
    off_record: float | None
    positions: tuple[PositionCost, ...]


class KVCost(msgspec.Struct, frozen=True):
    """What a KV policy did to a run."""

    session: str
    policy: str
    requests: tuple[RequestCost, ...]


def cost_of_session(name: str, requests: Sequence[str], model: str | None, json: bool) -> None:
    """Compute every row again with and without what was dropped, and print how far apart they are."""
    path = resolve_session(name)
    with Session.open(path) as session:
        header = session.header
        if session.redacted:
            raise CommandError(f"{name}: its text was taken out, and with it what would be computed again")
        if not header.kv_policy:
            raise CommandError(f"{name}: it ran without a KV policy, and nothing was dropped")
        models = Models() if model is None else Models(resolve_model(model))
        models.check_given([header])
        again = _again(session, models, header)
        wanted = _wanted(session, requests, name)
        with progress_bar("comparing", "requests") as progress:
            found = KVCost(str(path), header.kv_policy, tuple(_costs(session, again, wanted, progress)))
    print_json(found) if json else _print(found)


def _again(session: Session, models: Models, header: Header) -> RowAgain:
    from engine.model.weights import DTYPES
    from engine.row_again import RowAgain

    try:
        decoder = models.decoder(header)
    except ModelMissingError as error:
        raise CommandError(f"{error}: name its folder with --model") from error
    pool = models.make_pool(header)(decoder.config, 1, header.options.block_size, DTYPES[header.dtype])
    branch = latest_branch(session)
    past = session.past(session.last_step(branch), branch)
    return RowAgain(decoder, pool, past.state, past.tokens)


def _wanted(session: Session, requests: Sequence[str], name: str) -> list[str]:
    known = [row.request for row in session.requests(latest_branch(session)) if row.output_tokens]
    for request in requests:
        if request not in known:
            raise CommandError(
                f"{name}: no request {request} was given a token: it has {', '.join(known) or 'none'}"
            )
    return list(requests) or known


def _costs(session: Session, again: RowAgain, wanted: Sequence[str], progress: Progress) -> Iterator[RequestCost]:
    for done, request in enumerate(wanted):
        progress(done, len(wanted))
        yield _Request(session, again, request).cost()


@dataclass(frozen=True, slots=True)
class _Request:
    session: Session
    again: RowAgain
    request: str

    def cost(self) -> RequestCost:
        from engine.kv_cost import row_pairs

        positions: list[PositionCost] = []
        off: list[float] = []
        for pair in row_pairs(self.again, self.request):
            positions.append(self._position(pair))
            off += self._off_record(pair)
        kls = [each.kl for each in positions]
        return RequestCost(
            self.request, len(kls), sum(kls) / len(kls), max(kls),
            sum(each.top != each.whole_top for each in positions), max(off, default=None), tuple(positions),
        )  # fmt: skip

    def _position(self, pair: RowPair) -> PositionCost:
        token = self.again.log.tokens_of(self.request)[pair.position]
        top, whole_top = int(pair.thinned.argmax()), int(pair.whole.argmax())
        text = self.session.token_text
        return PositionCost(
            pair.position, pair.without, pair.kl, token, text(token), top, whole_top, text(whole_top)
        )

    def _off_record(self, pair: RowPair) -> list[float]:
        """How far the likeliest logits are from those recorded, where they were."""
        details = self.session.details(self.request, pair.position, latest_branch(self.session))
        if details is None:
            return []
        found = pair.thinned[list(details.candidates.ids)].tolist()
        return [abs(now - before) for now, before in zip(found, details.candidates.raw, strict=True)]


def _print(found: KVCost) -> None:
    for each in found.requests:
        print_pairs(
            [
                ("request", f"{each.request}, {each.tokens} tokens under {found.policy}"),
                ("KL from the whole cache", f"{each.kl_mean:.5f} nats on average, {each.kl_max:.5f} at most"),
                ("likeliest token", f"another one at {each.top_changed} of {each.tokens} positions"),
                ("computed again", _off(each)),
            ]
        )
        most = sorted(each.positions, key=lambda one: one.kl, reverse=True)[:MOST_ROWS]
        head = ("position", "without", "KL", "chosen", "likeliest with all")
        print_table(head, [_row(one) for one in most if one.kl > 0], right=(0, 1, 2))
        print()
    say("KL is of the distribution with the whole cache from the one of the run, before all sampler stages")


def _off(each: RequestCost) -> str:
    if each.off_record is None:
        return "the record has no logits to compare with"
    return f"at most {each.off_record:.1e} from the logits recorded"


def _row(one: PositionCost) -> tuple[object, ...]:
    other = "" if one.top == one.whole_top else repr(one.whole_text)
    return (one.position, one.dropped_tokens, f"{one.kl:.5f}", repr(one.text), other)
