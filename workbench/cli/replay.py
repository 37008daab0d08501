"""`replay`: a recorded run once more, and every step compared. Imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.events import PluginDisabled
from engine.params import EngineOptions
from engine.plugs import Plugs
from sessions.export.opening import is_growing
from sessions.header import TOKENIZER, Header
from sessions.reader import Session
from sessions.replay import RecordTimeline, Said, replay
from sessions.replay_compare import Comparison
from sessions.replay_difference import Difference
from workbench.adapters_behind import AdapterMissingError, adapters_of, moved_adapters
from workbench.cli.console import print_json, say
from workbench.cli.errors import DONE, FAILED, CommandError
from workbench.cli.model_finder import resolve_model
from workbench.cli.plugging import plugged_as_recorded
from workbench.cli.progress import Progress, progress_bar
from workbench.cli.session_names import resolve_session
from workbench.cli.torch_threads import wait_passively
from workbench.model_behind import ModelMissingError, check_folder, check_model

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25, "float16": 0.05}
"""How far raw logits may lie from the record's where the run cannot be the same to the bit."""


class Replayed(msgspec.Struct, frozen=True):
    """What a replay found. `tolerance` is None where logits were compared to the bit, else `because` says why.

    `logits` rows of logits were compared; of `without_logits` tokens the record holds no hash to compare with.
    """

    identical: bool
    steps: int
    first: Difference | None
    tolerance: float | None = None
    because: tuple[str, ...] = ()
    largest: float | None = None
    logits: int = 0
    without_logits: int = 0


def replay_session(
    name: str,
    model: str | None,
    threads: int | None,
    json: bool,
    plugins: Sequence[str] = (),
    adapters: Sequence[str] = (),
) -> int:
    """Run a session again, print what came of it, and return the exit code: 1 where it differs.

    `plugins` name files with plugins that it ran with and that are not installed, `adapters` the folders of
    those that lie elsewhere now.
    """
    path = resolve_session(name)
    with Session.open(path) as session:
        if session.redacted:
            raise CommandError(f"{name}: its text was taken out, and with it what a replay would feed in")
        if not any(session.last_step(each.branch) for each in session.branches):
            raise CommandError(f"{name}: no step was recorded, so there is nothing to replay")
        if is_growing(path):
            say(f"{name} is still being recorded, or was cut off: it is compared as far as it is written")
        folder = _folder(session.header, model)
        options = _options(session.header, threads, adapters)
        plugs = _plugs(session, plugins)
        wait_passively()
        with progress_bar("replaying", "steps") as progress:
            result = _replay(session, folder, options, plugs, progress)
    print_json(result) if json else _print(result)
    return DONE if result.identical else FAILED


def _folder(header: Header, model: str | None) -> Path:
    try:
        folder = check_model(header) if model is None else check_folder(header, resolve_model(model))
    except ModelMissingError as error:
        raise CommandError(f"{error}: name its folder with --model") from error
    _check_tokenizer(header, folder)
    return folder


def _check_tokenizer(header: Header, folder: Path) -> None:
    """Stop strings are looked for in text, so the tokenizer has a part in when a request ends."""
    path = folder / TOKENIZER
    found = hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()
    if found != header.tokenizer_hash:
        raise CommandError(
            f"{path} is not the one of the recording: its SHA-256 begins with {found[:8]}, not with"
            f" {header.tokenizer_hash[:8]}: name the folder of the recorded model with --model"
        )


def _options(header: Header, threads: int | None, moved: Sequence[str]) -> EngineOptions:
    """The recorded options, without captures: what they store follows from the logits."""
    try:
        adapters = adapters_of(header, moved_adapters(moved))
    except AdapterMissingError as error:
        raise CommandError(f"{error}: name its folder with --adapter NAME=FOLDER") from error
    kept = msgspec.structs.replace(header.options, kv_blocks=header.num_blocks, capture=(), adapters=adapters)
    return kept if threads is None else msgspec.structs.replace(kept, threads=threads)


def _plugs(session: Session, plugins: Sequence[str]) -> Plugs:
    """The plugins of the run; it ran without a weight transform that failed when it was loaded."""
    plugs = plugged_as_recorded(session.header, plugins)[1]
    for row in session.events_of_step(0):
        event = row.event
        if isinstance(event, PluginDisabled) and event.hook == "prepare_weights":
            plugs.transform = None
    return plugs


def _replay(session: Session, folder: Path, options: EngineOptions, plugs: Plugs, progress: Progress) -> Replayed:
    from engine.load import load
    from workbench.cli.assemble import Encoder, kernel_of, this_machine

    said, timeline = Said(), RecordTimeline(session)
    engine = load(folder, options, lambda _executor: said, Encoder(folder).stop_strings, lambda: timeline, plugs)
    because = _unlike(session.header, this_machine(), kernel_of(engine), options)
    comparison = Comparison(TOLERANCE[session.header.dtype] if because else None)
    total, steps = session.count_rows("steps"), 0
    for _ in replay(session, engine, said, timeline, comparison):
        steps += 1
        progress(steps, total)
    first = comparison.first
    largest = comparison.largest if because else None
    return Replayed(
        first is None,
        steps,
        first,
        comparison.tolerance,
        because,
        largest,
        comparison.compared,
        comparison.unrecorded,
    )


def _unlike(header: Header, machine: str, kernel: str, options: EngineOptions) -> tuple[str, ...]:
    """What is not as it was recorded, so that logits cannot be expected to be equal to the bit."""
    from importlib.metadata import version

    torch = version("torch").partition("+")[0]
    pairs: Sequence[tuple[str, object, object]] = (
        ("threads", header.options.threads, options.threads),
        ("torch", header.torch_version.partition("+")[0], torch),
        ("kernel", header.shape.linear_kernel, kernel),
        ("machine", header.machine or machine, machine),
    )
    return tuple(f"{name} {now}, recorded with {before}" for name, before, now in pairs if before != now)


def _print(result: Replayed) -> None:
    how = "to the bit" if result.tolerance is None else f"within {result.tolerance:g}"
    for line in result.because:
        print(f"not as recorded: {line}; logits are compared within {result.tolerance:g}")
    if result.without_logits:
        print(f"of {result.without_logits:,} tokens the record holds no logits to compare")
    if result.identical:
        most = "" if result.largest is None else f", the largest distance {result.largest:.3g}"
        print(f"identical: {result.steps:,} steps, plans, tokens and draws equal, logits {how}{most}")
        return
    assert result.first is not None
    print(f"{result.steps:,} steps are identical, logits {how}")
    print(f"first difference: {_words(result.first)}")


def _words(first: Difference) -> str:
    where = f"step {first.step}"
    where += "" if first.request is None else f", request {first.request}"
    where += "" if first.position is None else f", position {first.position}"
    size = (
        "" if first.max_abs is None else f"; the recorded candidates' logits differ by up to {first.max_abs:.3g}"
    )
    tie = "; a near tie" if first.near_tie else ""
    return f"{where}: {first.field} is {first.actual}, recorded {first.expected}{size}{tie}"
