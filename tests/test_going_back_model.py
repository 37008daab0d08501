"""On the bundled model: exact rewinds repeat the record hash for hash; forks do what they say."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch

from engine import protocol as pr
from engine.forking import ForkSpec
from engine.host import Opened
from engine.interventions import Scale
from engine.kv.pool import KVPool
from engine.model.batch import Batch, Span
from engine.observe import observe
from engine.option_error import OptionError
from engine.params import EngineOptions, RequestSpec, SamplingParams
from engine.probes import Intervention
from engine.rewinding import NotExactError
from engine.timeline import MemoryTimeline
from sessions.reader import Session
from tests.bundled import FOLDER, bundled_engine, decoder, greedy
from tests.test_invariance import CODE
from workbench.cli.assemble import open_session
from workbench.cli.errors import CommandError

Key = tuple[str, int]  # request, position


class Watched:
    """An engine with a past, and for each branch what its rows' logits hash to."""

    def __init__(self, num_blocks: int, **options: object) -> None:
        self.engine = bundled_engine(num_blocks, **options)
        timeline = MemoryTimeline(num_blocks, self.engine.options)
        self.engine._sink = self.engine._timeline = self.engine._rewinder._timeline = timeline
        self.timeline = timeline
        self.hashes: dict[int, dict[Key, int]] = {}
        self.near_ties: set[Key] = set()

    def run(self, steps: int | None = None) -> None:
        while (steps is None or steps > 0) and (step := self.engine.step()) is not None:
            hashes = self.hashes.setdefault(self.engine.state.branch, {})
            for about in step.details():
                hashes[about.request, about.position] = about.logits_hash
                if about.near_tie:
                    self.near_ties.add((about.request, about.position))
            steps = None if steps is None else steps - 1

    def tokens(self) -> dict[str, list[int]]:
        return {id_: list(ids) for id_, ids in self.engine.tokens._tokens.items()}


def workload(rng: random.Random) -> list[RequestSpec]:
    """Prompts that share prefixes, greedy and sampled."""
    made = []
    for _ in range(6):
        prompt = CODE[: rng.randint(4, len(CODE))] + rng.choices(range(3, 4000), k=rng.randint(0, 30))
        sampled = rng.random() < 0.5
        params = SamplingParams(
            max_tokens=rng.randint(6, 24), temperature=0.9 if sampled else 0.0, top_k=40 if sampled else 0,
            repetition_penalty=1.2 if sampled else 1.0, ignore_eos=True,
        )  # fmt: skip
        made.append(RequestSpec(tuple(prompt), params, n=rng.choice([1, 1, 2])))
    return made


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("exact", [True, False])
def test_a_rewound_run_repeats_itself(seed: int, exact: bool) -> None:
    """A pool too small for the workload: what is gone back to was preempted, evicted and overwritten."""
    rng = random.Random(seed)
    watched = Watched(18, block_size=4, token_budget=20, max_running=5)
    for spec in workload(rng):
        watched.engine.submit(spec)
    watched.run()
    first, hashes = watched.tokens(), watched.hashes[0]
    totals = watched.engine.state.totals
    assert totals.preemptions > 0
    assert totals.evicted_blocks > 0
    for _ in range(4):
        step = rng.randrange(last_step(watched))
        rewound = watched.engine.rewind(step, 0, exact=exact)
        assert exact or rewound.replayed_steps == 0
        branch = rewound.branch
        watched.run()
        check_again(watched, branch, first, hashes, exact=exact)


def check_again(
    watched: Watched, branch: int, first: dict[str, list[int]], hashes: dict[Key, int], *, exact: bool
) -> None:
    """What ran again is what ran first: to the bit, or outside near ties."""
    if not exact:
        same_outside_near_ties(watched, first)
        return
    assert watched.tokens() == first
    again = watched.hashes.get(branch, {})
    assert again == {key: hashes[key] for key in again}


def last_step(watched: Watched) -> int:
    return max(event.step for event in watched.timeline._said if event.branch == 0)


def same_outside_near_ties(watched: Watched, first: dict[str, list[int]]) -> None:
    for request, tokens in watched.tokens().items():
        pairs = enumerate(zip(tokens, first[request], strict=False))
        parted = next((at for at, (token, before) in pairs if token != before), None)
        assert parted is None or (request, parted) in watched.near_ties


def test_a_rewind_without_overwriting_is_exact_for_nothing() -> None:
    watched = Watched(64, block_size=4)
    watched.engine.submit(greedy(CODE, 20))
    watched.run()
    rewound = watched.engine.rewind(9)
    assert (rewound.recomputed_tokens, rewound.replayed_steps) == (0, 0)
    watched.run()
    assert all(watched.hashes[1][key] == watched.hashes[0][key] for key in watched.hashes[1])
    assert len(watched.hashes[1]) == 20 - 9


def test_what_stands_on_recomputed_kv_cannot_be_had_exactly() -> None:
    watched = Watched(8, block_size=4, prefix_cache=False)
    watched.engine.submit(greedy(CODE[:20], 8))
    watched.run()
    watched.engine.submit(greedy(CODE[::-1][:20], 8))
    watched.run()
    assert watched.engine.rewind(4).recomputed_tokens > 0
    watched.run(2)
    watched.engine.rewind(12, 0)
    with pytest.raises(NotExactError, match="step 6 cannot be had exactly: branch 1 began at step 4"):
        watched.engine.rewind(6, 1, exact=True)


SCALES = (
    (Scale(4, "attn_out", 0.0, head=3),),
    (Scale(2, "mlp_out", 0.0),),
    (Scale(1, "attn_proj", 0.5), Scale(1, "mlp_out", 0.5)),
    (Scale(0, "q_rot", -1.0, head=2), Scale(5, "resid_post", 2.0)),
)


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("at", [8, 22, 27])
def test_a_fork_computes_what_an_intervention_gives(scales: Sequence[Scale], at: int) -> None:
    """Beside its parent, from inside the prompt, its end and the output: as if run alone, changed."""
    watched = Watched(64, block_size=4, token_budget=9)
    watched.engine.submit(greedy(CODE, 12))
    watched.run(9)
    fork = watched.engine.fork(ForkSpec("1", at, scales=scales))
    watched.run(4)
    if fork in watched.engine.state.running:
        watched.engine.preempt(fork)  # and what it computes again is changed from the same position on
    watched.run()
    tokens = list(watched.engine.tokens.tokens_of(fork))
    start = at if at < len(CODE) else at - 1
    logits = intervened(tokens, start, scales)
    chosen = range(max(at, len(CODE)), len(tokens))
    expected = [int(logits[position - 1].argmax()) for position in chosen]
    assert [tokens[position] for position in chosen] == expected
    parent = list(watched.engine.tokens.tokens_of("1"))
    plain = intervened(parent, 0, ())
    assert parent[len(CODE) :] == [int(plain[p - 1].argmax()) for p in range(len(CODE), len(parent))]


def intervened(tokens: Sequence[int], start: int, scales: Sequence[Scale]) -> torch.Tensor:
    """Logits `[tokens, vocab]` of one pass over all of `tokens`, stages scaled from position `start` on."""

    def change(scale: Scale, tensor: torch.Tensor) -> torch.Tensor:
        part = tensor[start:] if scale.head is None else tensor[start:, scale.head]
        part *= scale.factor
        return tensor

    pool = KVPool(decoder().config, 1, len(tokens))
    batch = Batch.build([Span("1", 0, len(tokens), [0], logit_rows=len(tokens))], tokens, len(tokens))
    changes = [Intervention(scale.layer, scale.stage, partial(change, scale)) for scale in scales]
    return observe(decoder(), batch, pool, interventions=changes).logits


def test_a_scaled_fork_shares_nothing_that_it_computes_through_the_tree() -> None:
    watched = Watched(64, block_size=4)
    watched.engine.submit(greedy(CODE, 4))
    watched.run()
    fork = watched.engine.fork(ForkSpec("1", 8, scales=SCALES[1]))
    watched.run()
    plain = watched.engine.submit(greedy(CODE, 4))[0]
    watched.run()
    assert list(watched.engine.tokens.tokens_of(plain)) == list(watched.engine.tokens.tokens_of("1"))
    assert watched.hashes[0][fork, len(CODE)] != watched.hashes[0]["1", len(CODE)]


def test_a_scale_at_a_place_the_model_lacks_is_refused() -> None:
    watched = Watched(64)
    watched.engine.submit(greedy(CODE, 2))
    for scale, problem in (
        (Scale(9, "mlp_out", 0.0), "there is no stage 'mlp_out' in layer 9: the model has 6 layers"),
        (Scale(1, "attn_out", 0.0, head=60), "there is no head 60"),
    ):
        with pytest.raises(OptionError, match=problem):
            watched.engine.fork(ForkSpec("1", len(CODE), scales=(scale,)))


def opened(tmp_path: Path, name: str = "run.wbs", **more: object) -> Opened:
    options = EngineOptions(dtype="float32", block_size=4, kv_blocks=24, threads=1)
    order = pr.Open(model=str(FOLDER), session=str(tmp_path / name), options=options, **more)  # type: ignore[arg-type]
    return open_session(order, lambda _message: None)


def test_a_recorded_run_goes_back_by_its_file_and_on_from_a_copy(tmp_path: Path) -> None:
    run = opened(tmp_path)
    run.engine.submit(RequestSpec(tuple(CODE), SamplingParams(max_tokens=16, temperature=0.8, ignore_eos=True)))
    run.engine.submit(greedy(CODE[:9] + CODE[::-1], 12))
    run.engine.run()
    run.engine.rewind(5, exact=True)
    run.engine.run()
    run.engine.close()
    path = tmp_path / "run.wbs"
    assert not list(tmp_path.glob("run.wbs-*"))
    before = path.read_bytes()
    copy = opened(tmp_path, "copy.wbs", resume=pr.Resume(str(path), 0, 7))
    assert copy.engine.state.branch == 2
    copy.engine.run()
    copy.engine.close()
    assert path.read_bytes() == before
    with Session.open(tmp_path / "copy.wbs") as session:
        assert [row.parent_step for row in session.branches] == [None, 5, 7]
        for request in ("1", "2"):
            assert list(session.tokens_of(request, 1)) == list(session.tokens_of(request, 0))
            assert list(session.tokens_of(request, 2)) == list(session.tokens_of(request, 0))
            hashes = [[row.logits_hash for row in session.tokens(request, branch)] for branch in (0, 1)]
            assert hashes[0] == hashes[1]


def test_a_recording_of_another_model_is_not_gone_on_from(tmp_path: Path) -> None:
    run = opened(tmp_path)
    run.engine.submit(greedy(CODE, 2))
    run.engine.run()
    run.engine.close()
    other = tmp_path / "other"
    shutil.copytree(FOLDER, other)
    config = (other / "config.json").read_text()
    (other / "config.json").write_text(config + "\n")
    resume = pr.Resume(str(tmp_path / "run.wbs"), 0, 1)
    order = pr.Open(model=str(other), session=str(tmp_path / "x.wbs"), options=EngineOptions(), resume=resume)
    with pytest.raises(CommandError, match="holds another model than"):
        open_session(order, lambda _message: None)
    assert not (tmp_path / "x.wbs").exists()
