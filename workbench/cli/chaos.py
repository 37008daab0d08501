"""`chaos`: requests under a plain schedule and under random ones; no token may change. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.params import EngineOptions
from engine.plugs import Plugs
from engine.protocol import RequestText
from engine.workload import Feeder, WorkloadError, check_workload
from workbench.cli import demo
from workbench.cli.chaos_result import ChaosResult, RoundResult, parted, print_chaos
from workbench.cli.console import print_json, say
from workbench.cli.errors import DONE, FAILED, CommandError
from workbench.cli.flags import EngineFlags, SamplingFlags
from workbench.cli.folders import DEFAULT_MODEL
from workbench.cli.model_finder import resolve_model
from workbench.cli.order import settle
from workbench.cli.plugging import plugged_in
from workbench.cli.progress import Progress, progress_bar
from workbench.cli.requests import read_requests
from workbench.cli.torch_threads import wait_passively

if TYPE_CHECKING:
    from engine.chaos_run import Ran
    from engine.engine import Engine
    from workbench.cli.assemble import Encoder

MOST_ROUNDS = 100_000


def run_rounds(
    model: str | None,
    prompts: Sequence[str],
    workload: Path | None,
    rounds: int,
    engine: EngineFlags,
    sampling: SamplingFlags,
    json: bool,
) -> int:
    """Run all rounds, print what came of them, and return the exit code: 1 where a token differs."""
    if not 1 <= rounds <= MOST_ROUNDS:
        raise CommandError(f"--rounds is {rounds}: it must be between 1 and {MOST_ROUNDS}")
    folder = DEFAULT_MODEL if model is None else resolve_model(model)
    shows_demo = not prompts and workload is None
    requests = demo.demo_requests() if shows_demo else read_requests(prompts, workload, sampling)
    if shows_demo:
        say("no --prompt and no --workload: running the demo's requests")
    base = demo.OPTIONS if shows_demo and model is None else EngineOptions()
    options = msgspec.structs.replace(settle(folder, engine.options(base)), capture=())
    plugs = plugged_in(options.plugins, engine.plugin_files)[1]
    if plugs.kv_policy is not None:
        raise CommandError(
            f"plugin {plugs.kv_policy.plugin} drops blocks after each step, and tokens then depend on the"
            " schedule: leave it out"
        )
    if plugs.drafter is not None and not all(request.params.greedy for request in requests):
        raise CommandError(
            f"plugin {plugs.drafter.plugin} drafts tokens, and tokens that are drawn then depend on the schedule:"
            " leave it out, or give --temperature 0"
        )
    wait_passively()
    from engine.engine import StepFailedError

    with progress_bar("running under chaos", "rounds") as progress:
        try:
            result = _Runs(folder, options, requests, plugs).all(rounds, progress)
        except WorkloadError as error:
            raise CommandError(f"{workload}: {error}" if workload else str(error)) from error
        except StepFailedError as error:
            say(f"without chaos already, {error}")
            return FAILED
    print_json(result) if json else print_chaos(result)
    return DONE if result.holds else FAILED


class _Runs:
    """Runs of one workload on one model, loaded once, each with an engine and an empty cache of its own."""

    def __init__(
        self, folder: Path, options: EngineOptions, requests: Sequence[RequestText], plugs: Plugs
    ) -> None:
        from engine.load import load
        from workbench.cli.assemble import Encoder

        self.options = options
        self._requests = requests
        self._encode: Encoder = Encoder(folder)
        self._first: Engine = load(folder, options, stop_strings=self._encode.stop_strings, plugs=plugs)
        check_workload(requests, self._first, self._encode)

    def all(self, rounds: int, progress: Progress) -> ChaosResult:
        """The plain run, then `rounds` of chaos."""
        from engine.chaos_run import run_plain

        plain = run_plain(self._engine(), self._feeder().feed)
        done = []
        for number in range(1, rounds + 1):
            done.append(self._round(number, plain))
            progress(number, rounds)
        tokens = sum(map(len, plain.chosen.values()))
        holds = not any(round_.differs for round_ in done)
        compared = "logits" if self.options.invariant else "tokens"
        return ChaosResult(holds, compared, self.options.seed, plain.steps, tokens, tuple(done))

    def _round(self, number: int, plain: Ran) -> RoundResult:
        from engine.chaos_run import partings, run_chaos
        from engine.engine import StepFailedError

        engine = self._engine()
        try:
            ran = run_chaos(engine, self._feeder().feed, f"{self.options.seed} {number}")
        except StepFailedError as error:
            return RoundResult(number, engine.state.step, 0, 0, 0, (), str(error))
        found = partings(plain, ran, engine.tokens, to_the_bit=self.options.invariant)
        totals = engine.state.totals
        return RoundResult(
            number, ran.steps, totals.preemptions, totals.evicted_blocks, totals.computed_tokens,
            tuple(parted(each, self.options.invariant) for each in found),
        )  # fmt: skip

    def _feeder(self) -> Feeder:
        return Feeder(self._requests, self._encode)

    def _engine(self) -> Engine:
        """An engine with nothing in its cache; what lies in the pool from another run must never be read."""
        from engine.engine import Engine

        first = self._first
        blocks = first.state.blocks.num_blocks
        return Engine(
            first.executor, first.limits, blocks, self.options, None, self._encode.stop_strings, plugs=first.plugs
        )
