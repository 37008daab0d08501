"""`record`: a run without a screen, its engine in this process. Imports torch once there is something to run."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.engine import StepFailedError
from engine.events import OffloadLost
from engine.host import Opened
from engine.params import EngineOptions
from engine.plug_guard import PluginFailedError
from engine.protocol import Loading, Message, Open
from engine.wording import sentence
from engine.wording.keeping import OUTPUT_MAY_DIFFER
from engine.workload import WorkloadError
from workbench.cli.console import print_json, say
from workbench.cli.errors import DONE, FAILED, INTERRUPTED, CommandError
from workbench.cli.flags import EngineFlags, SamplingFlags
from workbench.cli.folders import DEFAULT_MODEL
from workbench.cli.interrupts import interruptible
from workbench.cli.model_finder import resolve_model
from workbench.cli.order import make_order
from workbench.cli.output import check_keeps
from workbench.cli.progress import Progress, progress_bar
from workbench.cli.requests import read_requests
from workbench.cli.result import print_result, read_result
from workbench.cli.script import Script, read_script
from workbench.cli.script_output import ScriptOutput
from workbench.cli.script_run import ScriptRun
from workbench.cli.torch_threads import wait_passively


def record_requests(
    model: str | None,
    prompts: Sequence[str],
    workload: Path | None,
    output: Path | None,
    force: bool,
    engine: EngineFlags,
    sampling: SamplingFlags,
    json: bool,
    scripts: Sequence[Path] = (),
    conditions: Sequence[str] = (),
) -> int:
    """Run what was asked for, print the result, and return the exit code.

    The commands of `scripts` are carried out on the way, and each of `conditions` must hold throughout.
    """
    folder = DEFAULT_MODEL if model is None else resolve_model(model)
    options = engine.options(EngineOptions())
    if output is not None:
        check_keeps(output, [*scripts, *([workload] if workload else [])])
    script = read_script(scripts, conditions, folder, options) if scripts or conditions else None
    submits = bool(scripts and not prompts and workload is None)  # the script does
    requests = [] if submits else read_requests(prompts, workload, sampling)
    order, warning = make_order(folder, options, requests, output, force=force)
    if warning:
        say(warning)
    try:
        run = record(order, script, ScriptOutput(json), engine.plugin_files)
    except WorkloadError as error:
        raise CommandError(f"{workload}: {error}" if workload else str(error)) from error
    result = read_result(run.session, run.seconds)
    print_json(result) if json else print_result(result)
    return _tell(run, result.steps)


def _tell(run: Recorded, steps: int) -> int:
    """Say what did not go well; the exit code."""
    for failure in run.failures:
        say(failure)
    if run.interrupted:
        say(f"interrupted after step {steps}; the session holds everything up to there")
        return INTERRUPTED
    return FAILED if run.failures or run.assertion_failed else DONE


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run that ended, early if `interrupted`; `failures` has a line for each step that failed."""

    session: Path
    seconds: float
    interrupted: bool
    failures: tuple[str, ...]
    assertion_failed: bool = False


def record(
    order: Open,
    script: Script | None = None,
    output: ScriptOutput | None = None,
    plugin_files: Sequence[Path] = (),
) -> Recorded:
    """Run `order` to its end, or until the user interrupts; its session is closed either way."""
    opened = _open(order, plugin_files)
    try:
        if script is not None:
            return _run_script(opened, script, output or ScriptOutput(json=False))
        with progress_bar("generating", "tokens") as progress:
            return _run(opened, _most_tokens(order), progress)
    finally:
        opened.engine.close()


def _open(order: Open, plugin_files: Sequence[Path]) -> Opened:
    wait_passively()
    from workbench.cli.assemble import open_session

    opened = open_session(order, _narrate, plugin_files)
    opened.engine.plugs.when_disabled = _tell_disabled
    opened.engine.plugs.when_lost = _tell_lost
    if opened.engine.plugs.kv_policy is not None:
        say(f"{opened.engine.plugs.kv_policy.name} drops blocks: {OUTPUT_MAY_DIFFER}")
    for failure in opened.engine.plugs.disabled.values():
        _tell_disabled(failure)
    return opened


def _tell_disabled(failure: PluginFailedError) -> None:
    say(f"{failure}; it is disabled, and the run goes on without it")


def _tell_lost(event: OffloadLost) -> None:
    say(f"step {event.step}: {sentence(event, str)}")


def _narrate(message: Message) -> None:
    if isinstance(message, Loading) and sys.stderr.isatty():
        say(message.doing)


def _run(opened: Opened, most_tokens: int, progress: Progress) -> Recorded:
    engine, failures = opened.engine, []
    opened.flush()  # the recorder is ready: from here on it is the run that takes time
    started = time.perf_counter()
    with interruptible() as interrupt:
        while not interrupt.wanted:
            opened.feeder.feed(engine)
            try:
                if engine.step() is None:
                    break
            except StepFailedError as error:
                failures.append(str(error))
            progress(engine.state.totals.output_tokens, most_tokens)
    seconds = time.perf_counter() - started
    return Recorded(Path(opened.session), seconds, interrupt.wanted, tuple(failures))


def _run_script(opened: Opened, script: Script, output: ScriptOutput) -> Recorded:
    opened.flush()
    started = time.perf_counter()
    with interruptible() as interrupt:
        run = ScriptRun(opened, script, output, lambda: interrupt.wanted)
        run.run()
    seconds = time.perf_counter() - started
    return Recorded(Path(opened.session), seconds, interrupt.wanted, tuple(run.failures), run.failed)


def _most_tokens(order: Open) -> int:
    return sum(request.params.max_tokens * request.n for request in order.workload)
