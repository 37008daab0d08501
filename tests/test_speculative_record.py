"""Runs with drafts as sessions: explained, replayed to the bit, compared, redacted."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from engine import events as ev
from sessions.reader import Session
from sessions.redaction import redact
from tests.commands import run

WORKLOAD = [
    {"prompt": "import os\n\ndef read(path):\n    with open(path) as f:", "max_tokens": 24, "temperature": 0.9,
     "top_p": 0.95, "seed": 1, "n": 2},
    {"prompt": "class Stack:\n    def push(self, item):", "max_tokens": 30, "repetition_penalty": 1.1},
    {"prompt": "def a(b):\n    return b\n\ndef c(d):\n", "max_tokens": 30, "temperature": 0.7, "top_k": 20},
]  # fmt: skip

CALM = '''
"""Takes a little from every token that stands earlier: a logits processor."""

from plugins.contract import Changed, NoOptions


class Calm:
    def process_logits(self, row):
        return Changed.to({token: float(row.logits[token]) - 1.0 for token in set(row.tokens[-4:])})


class plugin:
    name = "calm"
    version = "1"
    description = "Calms."
    options = NoOptions

    def provide(self, options):
        return [Calm()]


plugin = plugin()
'''


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with drawn drafts, penalties and a logits processor."""
    folder = tmp_path_factory.mktemp("speculative")
    (folder / "calm.py").write_text(CALM)
    (folder / "work.jsonl").write_text("\n".join(map(json.dumps, WORKLOAD)))
    path = folder / "run.wbs"
    ran = run("record", "--workload", folder / "work.jsonl", "--plugin", "draft=tokens:3", "--plugin",
              folder / "calm.py", "--kv-blocks", 16, "--capture", "logits", "-o", path)  # fmt: skip
    assert ran.code == 0, ran.err
    return path


def events_of(path: Path) -> list[ev.Event]:
    with Session.open(path) as session:
        view = session.events()
        return [row.event for row in view.rows(0, len(view))]


def test_a_run_with_drafts_replays_to_the_bit(recorded: Path) -> None:
    ran = run("replay", recorded, "--plugin", recorded.with_name("calm.py"))
    assert ran.code == 0, ran.out + ran.err
    assert "logits to the bit" in ran.out


def test_every_token_is_explained_and_has_its_own_logits(recorded: Path) -> None:
    with sqlite3.connect(recorded) as file:
        tokens = file.execute(
            "SELECT count(*), sum(logits_hash IS NULL), sum(logprob IS NULL) FROM tokens"
        ).fetchone()
        captured = file.execute(
            "SELECT count(*), count(DISTINCT request || ' ' || start) FROM tensors"
        ).fetchone()
    assert tokens[1:] == (0, 0)
    assert captured == (tokens[0], tokens[0])


def test_the_draws_of_tokens_are_those_of_the_verdicts(recorded: Path) -> None:
    said = events_of(recorded)
    drawn = {(event.request, event.position): event for event in said if isinstance(event, ev.Token)}
    verified = [event for event in said if isinstance(event, ev.Verified)]
    assert any(event.residual for event in verified)
    assert any(event.bonus is not None and event.drafts[0].draw for event in verified)
    for event in verified:
        accepted = [each for each in event.drafts if each.verdict == "accepted"]
        for at, each in enumerate(accepted):
            token = drawn[event.request, event.position + at]
            assert (token.token, token.draw) == (each.token, each.draw)
        after = drawn.get((event.request, event.position + len(accepted)))
        if event.residual is not None:
            assert after is not None
            assert (after.token, after.draw) == (event.residual.token, event.residual.draw)
        elif event.bonus is not None:
            assert after is not None
            assert after.token == event.bonus


def test_only_a_bonus_has_an_interval_on_the_distribution(recorded: Path) -> None:
    drafted: dict[tuple[str, int], bool] = {}
    for event in events_of(recorded):
        if isinstance(event, ev.Verified) and event.drafts[0].draw is not None:
            accepted = sum(each.verdict == "accepted" for each in event.drafts)
            drafted |= {(event.request, event.position + at): False for at in range(accepted)}
            drafted[event.request, event.position + accepted] = event.residual is None
    with sqlite3.connect(recorded) as file:
        rows = file.execute(
            "SELECT request, position, draw, low, high FROM tokens WHERE draw IS NOT NULL"
        ).fetchall()
    for request, position, draw, low, high in rows:
        if drafted.get((request, position), True):
            assert low <= draw < high
        else:
            assert (low, high) == (None, None)
    with Session.open(recorded) as session:
        details = [
            each for step in range(1, session.last_step(0) + 1) for each in session.details_of_step(step, 0)
        ]
    known = {(each.request, each.position): each for each in details}
    assert all((known[place].interval is not None) == plain for place, plain in drafted.items() if place in known)
    assert False in drafted.values()
    assert True in drafted.values()


def test_processors_are_told_of_drafts_only_as_far_as_they_became_tokens(recorded: Path) -> None:
    said = events_of(recorded)
    changed = [(event.request, event.position) for event in said if isinstance(event, ev.LogitsChanged)]
    chosen = {(event.request, event.position) for event in said if isinstance(event, ev.Token)}
    assert len(set(changed)) == len(changed)
    assert set(changed) == chosen


def test_a_redacted_run_tells_of_drafts_without_their_text(recorded: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.wbs"
    shutil.copyfile(recorded, copy)
    redact(copy)
    before = [event for event in events_of(recorded) if isinstance(event, ev.Drafted | ev.Verified | ev.Token)]
    after = [event for event in events_of(copy) if isinstance(event, ev.Drafted | ev.Verified | ev.Token)]
    drafted = None
    for one, other in zip(before, after, strict=True):
        if isinstance(one, ev.Drafted):
            assert isinstance(other, ev.Drafted)
            assert (one.q, one.used, one.method) == (other.q, other.used, other.method)
            assert other.spreads == ()
            drafted = one, other
        elif isinstance(one, ev.Verified):
            assert isinstance(other, ev.Verified)
            assert [each.verdict for each in one.drafts] == [each.verdict for each in other.drafts]
            assert {each.token for each in other.drafts} == {0}
    assert drafted is not None
    places = {(event.request, event.position): event.token for event in after if isinstance(event, ev.Token)}
    for one, other in zip(before, after, strict=True):
        if isinstance(one, ev.Drafted) and isinstance(other, ev.Drafted):
            real = {(e.request, e.position): e.token for e in before if isinstance(e, ev.Token)}
            place = one.request, one.position
            if real.get(place) == one.drafts[0]:
                assert places[place] == other.drafts[0]


def test_a_greedy_run_with_drafts_does_not_part_from_one_without(tmp_path: Path) -> None:
    for name, plugin in (("plain", ()), ("drafts", ("--plugin", "tree=source:ngram"))):
        ran = run("record", "--prompt", WORKLOAD[2]["prompt"], "--max-tokens", 24, "--invariant", *plugin, "-o",
                  tmp_path / f"{name}.wbs")  # fmt: skip
        assert ran.code == 0, ran.err
    ran = run("diff", tmp_path / "plain.wbs", tmp_path / "drafts.wbs")
    assert ran.code == 0, ran.out
    assert "logits equal to the bit at 24" in ran.out


def test_explain_says_how_many_drafts_became_tokens(recorded: Path) -> None:
    verdicts = [
        each.verdict for event in events_of(recorded) if isinstance(event, ev.Verified) for each in event.drafts
    ]
    ran = run("explain", recorded, "--json")
    assert ran.code == 0, ran.err
    lives = json.loads(ran.out)["requests"]
    assert sum(life["drafted_tokens"] for life in lives) == len(verdicts)
    assert sum(life["accepted_tokens"] for life in lives) == verdicts.count("accepted")
    assert "drafted tokens" in run("explain", recorded).out


def test_layers_that_the_model_does_not_have_are_named_as_they_were_given(tmp_path: Path) -> None:
    done = run("record", "--prompt", "def", "--plugin", "skip-layers=layers:0-99", "-o", tmp_path / "run.wbs")
    assert done.code == 2
    assert "layers is 0–99: leave out some, not all, of layers 0 to 5\n" in done.err
