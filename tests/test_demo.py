"""The demo shows everything it is there to show, whatever the bundled model says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import events as ev
from engine.reasons import NoFreeBlocks
from sessions.reader import Session
from workbench.cli.demo import OPTIONS


@pytest.fixture(scope="module")
def session(demo_session: Path) -> Iterator[Session]:
    with Session.open(demo_session) as session:
        yield session


@pytest.fixture(scope="module")
def events(session: Session) -> list[ev.AnyEvent]:
    return [row.event for row in session.events()]


def test_it_is_short_and_every_request_ends_by_itself(session: Session) -> None:
    assert 60 <= session.last_step() <= 100
    assert {row.finish_reason for row in session.requests()} == {"length"}


def test_a_long_prompt_is_prefilled_in_chunks_beside_decoding(events: list[ev.AnyEvent]) -> None:
    batches = [event.batch for event in events if isinstance(event, ev.Scheduled)]
    chunks = [work for batch in batches for work in batch if work.phase == "prefill" and work.start > 0]
    assert chunks
    assert any({"prefill", "decode"} == {work.phase for work in batch} for batch in batches)
    assert max(sum(work.tokens for work in batch) for batch in batches) == OPTIONS.token_budget


def test_prompts_share_a_prefix_and_a_radix_node_splits(events: list[ev.AnyEvent]) -> None:
    hits = {
        event.request: event.tokens for event in events if isinstance(event, ev.PrefixMatched) and event.tokens
    }
    assert len(hits) >= 3
    assert max(hits.values()) >= 100
    assert any(isinstance(event, ev.Split) for event in events)


def test_two_samples_share_their_prompt_until_one_writes(events: list[ev.AnyEvent]) -> None:
    assert any(isinstance(event, ev.Shared) for event in events)
    assert any(isinstance(event, ev.Copied) for event in events)


def test_a_request_waits_for_blocks_and_the_cache_gives_some_up(events: list[ev.AnyEvent]) -> None:
    waits = [event.reason for event in events if isinstance(event, ev.Waiting)]
    assert any(isinstance(reason, NoFreeBlocks) for reason in waits)
    assert any(isinstance(event, ev.Evicted) for event in events)


def test_a_request_is_preempted_and_resumes(events: list[ev.AnyEvent]) -> None:
    preempted = {event.request for event in events if isinstance(event, ev.Preempted)}
    resumed = {event.request for event in events if isinstance(event, ev.Admitted) and event.resumed}
    assert preempted
    assert preempted <= resumed


def test_the_sampler_has_something_to_show(session: Session) -> None:
    used = [row.sampling for row in session.requests()]
    assert any(params.greedy for params in used)
    for setting in ("top_k", "min_p", "frequency_penalty"):
        assert any(getattr(params, setting) for params in used), setting
    assert any(params.top_p < 1 for params in used)
    assert any(params.repetition_penalty > 1 for params in used)
