"""Sentences for every event and reason, with their numbers."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace

from engine import events as ev
from engine import reasons as re
from engine.changed_logits import Changed
from engine.interventions import Intervened, Scale
from engine.params import SamplingParams
from engine.wording import ranges, sentence, why

AT = {"branch": 0, "step": 42}
WORK = ev.Work("4", "prefill", 0, 64)
ROOM = re.NoFreeBlocks(need=12, free=9, evictable=2)

REASONS = {
    re.Arrived(): "it has just arrived, and no step has considered it yet",
    re.TokenBudgetSpent(need=64, used=100, budget=128): "needs 64 tokens, and 100 of this step's 128 are spent",
    ROOM: "needs 12 blocks, 9 free + 2 evictable",
    re.MaxRunning(need=1, running=8, limit=8): "8 of at most 8 requests run already",
    re.MaxRunning(need=4, running=6, limit=8): "needs 4 places, and 6 of at most 8 requests run already",
    re.BehindOlder(): "a request before it in line has not been admitted",
    re.AwaitsBeams("7"): "the beams of its search go on together, and 7 cannot yet",
    re.AwaitsPrefill("3.0"): "it starts on the blocks of 3.0 once that has prefilled",
    re.AfterPreemption("4"): "nothing is admitted in a step that had to preempt (4)",
    re.RolledBack(): "its step failed, and what that could have written was dropped",
    re.Diverged(position=12, wanted=5, cached=6, block=7): (
        "at position 12 the prompt has '<5>' where cached block 7 has '<6>'"
    ),
    re.BlockNotFull(position=96, tokens=5, block_size=16): (
        "5 tokens are left from position 96 on, fewer than a block's 16"
    ),
    re.NeverComputed(96): "nothing cached continues the prompt at position 96",
    re.EvictedEarlier(position=96, evicted_step=31, for_request="4"): (
        "the block at position 96 was evicted in step 31 to make room for request 4"
    ),
    re.LastTokenNeeded(96): (
        "the block at position 96 is cached too, but the last prompt token must be computed:"
        " its logits choose the first new one"
    ),
    re.CacheOff(): "the prefix cache is off",
    re.StagesDiffer(32): "from position 32 on its stages are scaled, and so its keys and values are its own",
    re.AdapterDiffers(32, 16, "fr"): (
        "from position 32 on 16 tokens are cached only as adapter fr computes them"
    ),
    re.AdapterDiffers(0, 16, ""): (
        "from position 0 on 16 tokens are cached only as the model without an adapter computes them"
    ),
    re.SaltDiffers(0, 1): "from position 0 on 1 token is cached only for requests of another salt",
    re.ByHand(): "by hand",
    re.OutsideWindow(4, 1024): "only the first 4 positions and the latest 1,024 stay",
    re.LeastAttended((0.5, 2.25), 9.25, 32): (
        "attention to them sums up to at most 2.25, and the least that stays 9.25 (32 tokens stay for theirs)"
    ),
    re.ByPolicy(): "as it decided",
    re.NeededBlocks(for_request="3", need=2, free=0, evictable=1, others=("1", "2")): (
        "request 3 needs 2 blocks, 0 free + 1 evictable, and this one came last; 1, 2 could have gone instead"
    ),
}

SUBMITTED = ev.Submitted(
    request="3.1",
    arrival=2,
    priority=0,
    sample=1,
    samples=4,
    leader="3.0",
    params=SamplingParams(temperature=0.8),
    prompt_ids=(1, 2),
    **AT,
)

EVENTS = {
    ev.BeamsChosen(
        request="9", position=21, hypotheses=(),
        candidates=(
            ev.Candidate("9", 7, -0.25, -0.25, "goes_on", "9"), ev.Candidate("9", 2, -1.5, -1.5, "ended", "11"),
            ev.Candidate("10", 4, -1.0, -4.5, "passed_over"),
        ), **AT,
    ): (
        "search 9: of 3 continuations at position 21, 9 goes on with '<7>' (-0.250),"
        " 11 (from 9) ends with '<2>' (-1.500)"
    ),
    ev.BeamsEnded(request="9", why="enough", best=(ev.Hypothesis("9", -0.75), ev.Hypothesis("11", -1.5)), **AT): (
        "search 9 is over: as many outputs have ended as there are beams; best first: 9 (-0.7500), 11 (-1.5000)"
    ),
    ev.Waiting(request="5", reason=ROOM, **AT): "request 5 waits: needs 12 blocks, 9 free + 2 evictable",
    ev.PrefixMatched(request="2", blocks=(3, 4), tokens=32, looked_up=40, end=re.NeverComputed(32), **AT): (
        "request 2 finds 32 of 40 tokens cached in 2 blocks (3–4): nothing cached continues the prompt at"
        " position 32"
    ),
    ev.Evicted(node=9, blocks=(7,), tokens=16, hits=0, last_use_step=3, policy="lru", for_request="5", **AT): (
        "block 7 evicted from node 9 to make room for request 5: 16 tokens lost, last used in step 3,"
        " never hit (lru)"
    ),
    ev.Allocated(request="5", index=2, blocks=(7, 8, 11), **AT): (
        "request 5 takes 3 blocks (7–8 11) at index 2 of its table"
    ),
    ev.Copied(request="3.1", index=1, source=4, block=9, tokens=5, **AT): (
        "request 3.1 writes into shared block 4: the first 5 tokens are copied to block 9, its own from now on"
    ),
    ev.Admitted(request="5", resumed=True, cached_tokens=32, tokens=90, need_blocks=4, free_blocks=6, **AT): (
        "request 5 resumes: 32 of 90 tokens cached, needs 4 blocks, 6 free"
    ),
    ev.Preempted(
        request="5", reason=re.NeededBlocks("3", 1, 0, 0, ()), released_blocks=6, recompute_tokens=90, **AT
    ): (
        "request 5 is preempted: request 3 needs 1 block, 0 free + 0 evictable, and this one came last;"
        " no other could go; it gives up 6 blocks, at most 90 tokens to compute again"
    ),
    ev.Scheduled(batch=(WORK, ev.Work("1", "decode", 9, 1)), budget=128, **AT): (
        "the batch: decode 1 · prefill 4 (64 from 0), 65 of 128 tokens"
    ),
    ev.Computed(batch=(WORK,), **AT): "64 positions of 1 request computed",
    ev.Cached(request="1", index=3, blocks=(9,), hashes=(1,), node=4, parent=2, created=True, **AT): (
        "request 1: block 9 is full and enters the tree at new node 4 under 2"
    ),
    ev.Split(node=4, child=9, at=2, **AT): (
        "node 4 splits: it keeps its first 2 blocks, the rest moves to new node 9"
    ),
    ev.Drafted(
        request="2", position=30, method="ngram", drafts=(23, 8), q=(1.0, 1.0), spreads=(), parents=(), used=2,
        cut=None, **AT,
    ): "ngram drafts 2 tokens for request 2: '<23>' '<8>'",
    ev.Drafted(
        request="2", position=30, method="draft", drafts=(23, 8), q=(0.5, 0.5), spreads=(), parents=(), used=0,
        cut=re.NoFreeBlocks(1, 0, 0), **AT,
    ): (
        "draft drafts 2 tokens for request 2: '<23>' '<8>'; needs 1 block, 0 free + 0 evictable:"
        " it decodes without"
    ),
    ev.Verified(
        request="2", position=30, drafts=(ev.Verdict(23, 1.0, "accepted", 0.9, 0.9, None),), residual=None,
        bonus=4, **AT,
    ): "request 2: 1 of 1 draft accepted, and '<4>' as a bonus",
    ev.Verified(
        request="2", position=30,
        drafts=(ev.Verdict(23, 0.5, "rejected", 0.1, 0.2, 0.64), ev.Verdict(8, 0.5, "unused")),
        residual=ev.Residual(77, 0.25, 0.0, 0.75, 0.4, (77, 3), (0.75, 0.25)), bonus=None, **AT,
    ): (
        "request 2: 0 of 2 drafts accepted; '<23>' is rejected: p 0.1000 / q 0.5000 = 0.2000, not above draw"
        " 0.6400; '<77>' is drawn from what p leaves of q"
    ),
    ev.GivenBack(request="2", index=2, blocks=(13,), **AT): (
        "request 2 gives back block 13: only rejected drafts were in there"
    ),
    ev.KeptPrivate(request="2", index=0, block=12, hash=1, twin=7, **AT): (
        "request 2 keeps full block 12 to itself: block 7 in the tree holds the same tokens"
    ),
    ev.Weighed(request="2", start=63, rows=1, indexes=(0, 2), weights=(9.25, 14.5), **AT): (
        "attention of row 63 of request 2 to its 2 blocks: 23.75 over all layers and heads"
    ),
    ev.Dropped(
        request="2", indexes=(1, 2), blocks=(14, 9), tokens=32, position=64, policy="sinks",
        reason=re.OutsideWindow(4, 32), **AT,
    ): (
        "request 2 gives up 2 blocks (14 9) at index 1–2 of its table (32 tokens, sinks):"
        " only the first 4 positions and the latest 32 stay; rows from position 64 on do not read them"
    ),
    ev.Uncached(request="2", node=7, blocks=(16, 15), **AT): (
        "2 blocks (16 15) leave the tree at node 7 and stay with request 2,"
        " so that the one it dropped before them can be evicted"
    ),
    ev.Offloaded(blocks=(9, 8), hashes=(1, 2), tokens=32, forgotten=(3,), **AT): (
        "2 blocks (9 8): 32 tokens written to host files, 1 older file deleted for it"
    ),
    ev.Loaded(request="9", index=1, blocks=(14, 15), hashes=(2, 1), tokens=32, **AT): (
        "request 9 reads 32 tokens back from host files, into 2 blocks (14–15) at index 1 of its table"
    ),
    ev.OffloadLost(hash=1, request="9", why="it is not there", **AT): (
        "a block of request 9 cannot be read back from its host file, and is computed: it is not there"
    ),
    ev.Started(request="4", **AT): "request 4 runs: its prompt is computed",
    ev.Shared(request="3.1", source="3.0", **AT): "request 3.1 runs on the blocks of 3.0",
    ev.Token(request="2", position=161, token=8, draw=0.6132, **AT): (
        "request 2 gets '<8>' at position 161, by draw u = 0.6132"
    ),
    ev.Finished(
        request="9", reason="error", detail="does_not_fit", output_tokens=0, need=99, limit=64, **AT
    ): "request 9 ends (error) after 0 tokens, refused at once (99 needed, 64 there)",
    ev.StepCommitted(
        tokens=66, started_ns=0, plan_ns=200_000, forward_ns=3_400_000, sample_ns=300_000, commit_ns=200_000, **AT
    ): "step 42 is committed: 66 tokens in 4.1 ms (plan 0.2, forward 3.4, sample 0.3, commit 0.2)",
    ev.StepFailed(error="boom\x1b[31m", ended=("4",), **AT): (
        "step 42 failed, its requests wait again; 4 ended with it: boom␛[31m"
    ),
}  # fmt: skip


FORK = ev.Forked(
    request="9", arrival=3, priority=0, sample=0, parent="2", at_position=161, appended=(8,), prompt_tokens=148,
    params=SamplingParams(), changed=("token",), **AT,
)  # fmt: skip
OFF = Intervened(160, (Scale(4, "attn_out", 0.0, head=3), Scale(2, "mlp_out", 0.5), Scale(1, "q_rot", 0, 0)))
REWOUND = ev.Branched(parent=0, recomputed_tokens=0, replayed_steps=0, **AT)

CASES = [
    (FORK, "request 9 forks from 2 at position 161, with '<8>' as its token there"),
    (
        replace(FORK, appended=(), changed=("params", "stages"), intervened=OFF),
        "request 9 forks from 2 at position 161, with other sampling settings and layer 4 head 3 switched off,"
        " layer 2 MLP times 0.5, layer 1 head 0 of q_rot switched off",
    ),
    (
        replace(FORK, appended=(1, 2), changed=("prompt",)),
        "request 9 forks from 2 at position 161, with another end of the prompt (2 tokens)",
    ),
    (
        ev.Inherited(request="9", source="2", blocks=(3, 4), tokens=21, **AT),
        "fork 9 starts on 2 blocks (3–4) of 2: 21 tokens it need not compute",
    ),
    (ev.PolicyChanged(policy="lpm", **AT), "from here on requests are admitted by policy lpm"),
    (
        ev.LogitsChanged(
            request="5", position=14, plugin="calm", change=Changed((3,), (1.0,), removed=(4, 5)), **AT
        ),
        "plugin calm changes 1 logit and removes 2 tokens before the token at position 14 of request 5 is chosen",
    ),
    (
        ev.PluginDisabled(
            plugin="calm", hook="eviction_key", why="raised", message="raised E", eviction="lru", **AT
        ),
        "plugin calm is disabled for the rest of the run: eviction_key raised E; from here on eviction lru",
    ),
    (REWOUND, "branch 0 begins after step 42 of branch 0: all its KV was still in place"),
    (
        replace(REWOUND, recomputed_tokens=41),
        "branch 0 begins after step 42 of branch 0: the KV of 41 tokens was lost and is computed again",
    ),
    (
        replace(REWOUND, replayed_steps=7),
        "branch 0 begins after step 42 of branch 0: 7 recorded steps run again to have its KV back",
    ),
    (
        ev.Preempted(request="5", reason=re.ByHand(), released_blocks=6, recompute_tokens=90, **AT),
        "request 5 is preempted by hand; it gives up 6 blocks, at most 90 tokens to compute again",
    ),
    (
        ev.Evicted(
            node=9, blocks=(7,), tokens=16, hits=0, last_use_step=3, policy="by hand", for_request="", **AT
        ),
        "block 7 evicted from node 9 by hand: 16 tokens lost, last used in step 3, never hit",
    ),
    (
        SUBMITTED,
        "request 3.1 (sample 2 of 4) arrives: 2 prompt tokens, at most 64 to generate, temperature 0.8",
    ),
    *EVENTS.items(),
]


def text(token: int) -> str:
    return f"<{token}>"


@pytest.mark.parametrize(("reason", "words"), REASONS.items(), ids=lambda value: type(value).__name__)
def test_a_reason_reads_as(reason: re.Reason, words: str) -> None:
    assert why(reason, text) == words


@pytest.mark.parametrize(("event", "words"), CASES, ids=lambda value: type(value).__name__)
def test_an_event_reads_as(event: ev.Event, words: str) -> None:
    assert sentence(event, text) == words


def test_every_reason_and_event_has_words() -> None:
    reasons = {
        *get_args(re.WaitReason),
        *get_args(re.MatchEnd),
        *get_args(re.PreemptReason),
        *get_args(re.DropReason),
    }
    assert {type(reason) for reason in REASONS} == reasons
    assert {type(event) for event, _ in CASES} == set(get_args(ev.AnyEvent))


@pytest.mark.parametrize("detail", get_args(re.FinishDetail))
def test_every_ending_has_words(detail: re.FinishDetail) -> None:
    event = ev.Finished(request="1", reason="stop", detail=detail, output_tokens=1, message="x\n", **AT)
    assert sentence(event, text).endswith(": 'x⏎'" if detail == "stop_string" else ": x⏎")


def test_runs_of_numbers_are_joined_and_long_lists_cut() -> None:
    assert ranges([3, 4, 5, 9, 8]) == "3–5 9 8"
    assert ranges([]) == ""
    assert ranges(range(0, 40, 2)) == "0 2 4 6 8 10 …"
