"""Rounds of a recorded request that drafts were verified for, and what they add up to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine.acceptance import Target
from engine.engine import Engine
from engine.forking import ForkSpec
from engine.params import SamplingParams
from sessions.draft_rounds import Choice, Round, rounds_of
from sessions.draft_tally import Tally, depths
from sessions.reader import Session
from tests.drafted import SETTINGS, record_drafted
from tests.sampled import record_sampled

GREEDY, DRAWN = "1", "2"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rounds") / "drafted.wbs"
    record_drafted(path)
    return path


@pytest.fixture
def session(path: Path) -> Iterator[Session]:
    with Session.open(path) as session:
        yield session


def tally_of(session: Session, request: str) -> Tally:
    tally = Tally(session.request(request).sampling.greedy)
    for one in rounds_of(session, request, 0, 0):
        tally.add(one)
    return tally


@pytest.mark.parametrize("request_id", [GREEDY, DRAWN])
def test_rounds_are_the_tokens_after_the_first_in_order(session: Session, request_id: str) -> None:
    rounds = [*rounds_of(session, request_id, 0, 0)]
    tokens = [choice.token for one in rounds for choice in one.choices]
    row = session.request(request_id)
    assert tokens == [*session.tokens_of(request_id)][row.prompt_tokens + 1 :]
    assert [one.position for one in rounds[1:]] == [one.stop for one in rounds[:-1]]
    assert any(one.verified is None for one in rounds)


def test_pages_change_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [*rounds_of(session, DRAWN, 0, 0)]
    for page in (6, 7, 20):
        monkeypatch.setattr("sessions.draft_rounds.PAGE", page)
        assert [*rounds_of(session, DRAWN, 0, 0)] == whole
    assert [*rounds_of(session, DRAWN, 0, whole[3].position)] == whole[3:]


def test_counts_are_those_of_the_bookkeeping(session: Session) -> None:
    tallies = [tally_of(session, request) for request in (GREEDY, DRAWN)]
    totals = session.state_at(session.last_step()).totals
    assert sum(tally.drafted for tally in tallies) == totals.drafted_tokens
    assert sum(tally.accepted for tally in tallies) == totals.accepted_tokens
    for tally in tallies:
        assert sum(place.accepted for place in tally.places) == tally.accepted
        assert tally.places[0].tried == tally.verified_passes
        for before, after in pairwise(tally.places):
            assert after.tried <= before.accepted  # less where a draft ends
        assert tally.per_forward == tally.tokens / tally.passes


def test_a_run_without_drafts_has_plain_rounds_and_nothing_to_check(tmp_path: Path) -> None:
    record_sampled(tmp_path / "plain.wbs")
    with Session.open(tmp_path / "plain.wbs") as session:
        tally = tally_of(session, "1")
    assert tally.per_forward == 1.0
    assert (tally.verified_passes, tally.exactness, tally.saved) == (0, None, None)


def test_the_forced_token_of_a_fork_was_given_by_no_pass(tmp_path: Path) -> None:
    def fork(engine: Engine) -> None:
        engine.run(6)
        engine.fork(ForkSpec("1", at_position=13, token=7))

    record_drafted(tmp_path / "forked.wbs", SETTINGS[1:], fork)
    with Session.open(tmp_path / "forked.wbs") as session:
        rounds = [*rounds_of(session, "2", 0, 0)]
        tally = tally_of(session, "2")
        assert [one.position for one in rounds if one.forced] == [13]
        assert [one.stop for one in rounds[:-1]] == [one.position for one in rounds[1:]]
        assert rounds[0].verified is not None  # its parent's pass
        assert tally.tokens == len(session.tokens_of("2")) - 10 - 2
        assert tally.passes == len(rounds) - 1


def test_exact_runs_pass_the_check(session: Session) -> None:
    greedy, drawn = tally_of(session, GREEDY).exactness, tally_of(session, DRAWN).exactness
    assert greedy is not None
    assert greedy.taken == greedy.tokens > 20
    assert drawn is not None
    assert drawn.p_value is not None
    assert drawn.p_value > 0.01


def test_a_greedy_run_that_takes_another_token_does_not(session: Session) -> None:
    tally = Tally(greedy=True)
    for one in rounds_of(session, GREEDY, 0, 0):
        tally.add(replace(one, choices=tuple(replace(each, token=99, own=0.0) for each in one.choices)))
    assert tally.exactness is not None
    assert tally.exactness.taken == 0
    assert tally.exactness.tokens > 20


def test_a_run_that_draws_from_the_draft_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target's distribution is sharpened before drafts are held against it: a fault on purpose."""
    exact = Target.probs

    def sharpened(self: Target) -> object:
        probs = exact(self) ** 3
        return probs / probs.sum()

    monkeypatch.setattr(Target, "probs", sharpened)
    params = SamplingParams(max_tokens=600, temperature=1.3, seed=3, ignore_eos=True)
    record_drafted(tmp_path / "wrong.wbs", [params])
    with Session.open(tmp_path / "wrong.wbs") as session:
        found = tally_of(session, "1").exactness
    assert found is not None
    assert found.p_value is not None
    assert found.p_value < 1e-4
    assert found.z is not None
    assert found.z > 4


# -- sums -----------------------------------------------------------------------------------------------------


def made_up(
    tokens: int, total_ns: int, drafts: int = 0, alone: bool = True, parents: tuple[int, ...] = ()
) -> Round:
    verdicts = tuple(
        ev.Verdict(5, 1.0, "accepted" if at < tokens - 1 else "rejected", 0.5) for at in range(drafts)
    )
    verified = ev.Verified(request="1", position=7, drafts=verdicts, residual=None, bonus=None, branch=0, step=3)
    drafted = ev.Drafted(
        request="1", position=7, method="m", drafts=(5,) * drafts, q=(1.0,) * drafts, spreads=(), parents=parents,
        used=drafts, cut=None, branch=0, step=3,
    )  # fmt: skip
    choices = (Choice(5, 5, 0.25, 0.25),) * tokens
    known = (drafted, verified) if drafts else (None, None)
    return Round(3, 7, choices, *known, total_ns, alone)


def test_time_is_estimated_with_the_median_of_plain_steps() -> None:
    tally = Tally(greedy=True)
    for one in (made_up(1, 10), made_up(1, 30), made_up(3, 50, drafts=2), made_up(2, 40, drafts=3)):
        tally.add(one)
    assert tally.saved is None  # two plain steps tell little
    tally.add(made_up(1, 20))
    tally.add(made_up(1, 1_000, alone=False))  # shared with another request
    tally.add(made_up(4, 1_000, drafts=3, alone=False))
    saved = tally.saved
    assert saved is not None
    assert (saved.plain_ns, saved.plain_steps, saved.tokens) == (20, 3, 5)
    assert (saved.took_ns, saved.would_ns) == (90, 100)
    assert tally.pass_ns == (45, 0)


@given(st.integers(1, 400), st.integers(0, 400))
def test_the_statistic_is_that_of_independent_choices(count: int, taken: int) -> None:
    tally, taken = Tally(greedy=False), min(taken, count)
    for number in range(count):
        choice = Choice(5 if number < taken else 6, 5, 0.25, 0.25)
        tally.add(replace(made_up(1, 1, drafts=1), choices=(choice,)))
    found = tally.exactness
    assert found is not None
    assert (found.taken, found.expected) == (taken, pytest.approx(count / 4))
    if count * 0.1875 < 5:
        assert found.p_value is None
    else:
        z = (taken - count / 4) / math.sqrt(count * 0.1875)
        assert found.z == pytest.approx(z)
        assert found.p_value == pytest.approx(2 * (1 - 0.5 * (1 + math.erf(abs(z) / math.sqrt(2)))), abs=1e-9)


def test_drafts_of_a_tree_count_by_their_depth() -> None:
    one = made_up(2, 1, drafts=4, parents=(-1, -1, 0, 2))
    assert depths(one) == [0, 0, 1, 2]
