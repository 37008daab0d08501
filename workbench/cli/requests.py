"""What a run is asked to do: from prompts, a workload file or standard input to requests. No torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from engine.params import SamplingParams
from engine.protocol import RequestText
from engine.workload import WorkloadError, parse_workload
from workbench.cli.errors import CommandError
from workbench.cli.flags import SamplingFlags


def read_requests(prompts: Sequence[str], workload: Path | None, sampling: SamplingFlags) -> list[RequestText]:
    """The requests of `--prompt`, of `--workload`, or else one whose prompt is all of standard input."""
    params = sampling.params()
    if prompts and workload is not None:
        raise CommandError("--prompt and --workload both say what to run: give one of them")
    if workload is not None:
        return _read_workload(workload, params, sampling.samples)
    return [_request(prompt, params, sampling) for prompt in prompts or [_read_stdin()]]


def _read_workload(path: Path, params: SamplingParams, n: int) -> list[RequestText]:
    try:
        with path.open("rb") as lines:
            return parse_workload(lines, params, n)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}: --workload takes a JSONL file") from error
    except WorkloadError as error:
        raise CommandError(f"{path}: {error}") from error


def _request(prompt: str, params: SamplingParams, sampling: SamplingFlags) -> RequestText:
    if not prompt:
        raise CommandError("the prompt is empty: give at least one character of text")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise CommandError(f"the prompt is not UTF-8 text: {error.reason} at character {error.start}") from error
    if sampling.chat:
        return RequestText(messages=({"role": "user", "content": prompt},), params=params, n=sampling.samples)
    return RequestText(prompt=prompt, params=params, n=sampling.samples)


def _read_stdin() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise CommandError("nothing to run: give --prompt TEXT, --workload FILE.jsonl, or text on standard input")
    return sys.stdin.buffer.read().decode(errors="surrogateescape")
