"""`run` and `open`: the workbench in the terminal, on an engine of its own or on a recorded session."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.params import EngineOptions
from engine.protocol import RequestText
from workbench.cli import demo
from workbench.cli.console import say
from workbench.cli.engine_command import engine_command
from workbench.cli.errors import CommandError
from workbench.cli.flags import EngineFlags, SamplingFlags
from workbench.cli.folders import DEFAULT_MODEL, log_file
from workbench.cli.model_finder import resolve_model
from workbench.cli.order import make_order
from workbench.cli.output import check_keeps
from workbench.cli.requests import read_requests
from workbench.cli.session_names import resolve_session

GlyphSet = Literal["auto", "unicode", "ascii"]


@dataclass(frozen=True, slots=True)
class Look:
    """How the screen is drawn."""

    glyphs: GlyphSet
    theme: str | None


def run_live(
    model: str | None,
    prompts: Sequence[str],
    workload: Path | None,
    output: Path | None,
    force: bool,
    engine: EngineFlags,
    sampling: SamplingFlags,
    look: Look,
) -> int:
    """Open the workbench on a model and an engine that has yet to load it; the exit code."""
    _need_terminal()
    folder = DEFAULT_MODEL if model is None else resolve_model(model)
    shows_demo = model is None and not prompts and workload is None
    if output is not None and workload is not None:
        check_keeps(output, [workload])
    requests = _requests(shows_demo, prompts, workload, sampling)
    options = engine.options(demo.OPTIONS if shows_demo else EngineOptions())
    order, warning = make_order(folder, options, requests, output, force=force, spare_cores=1)
    if warning:
        say(warning)
    from workbench.cli.plugging import added_by

    added = added_by(engine.plugin or ())
    from workbench.app import run_app
    from workbench.source import Live

    live = Live(
        command=engine_command(engine.plugin_files),
        model=Path(order.model),
        session=Path(order.session),
        options=order.options,
        workload=order.workload,
        force=force,
        log=log_file(),
    )
    return run_app(live, glyphs=look.glyphs, theme=look.theme, added=added)


def run_recorded(session: str, look: Look, compare: str | None = None, plugins: Sequence[str] = ()) -> int:
    """Open the workbench on a recorded session, beside another one where `compare` names it; the exit code."""
    path = resolve_session(session)
    other = None if compare is None else resolve_session(compare)
    for each in (path, other):
        if each is not None:
            _check_session(each)
    from workbench.cli.plugging import added_by, files_in

    added = added_by(plugins)
    _need_terminal()
    from workbench.app import run_app
    from workbench.source import Recorded

    recorded = Recorded(path, engine_command(files_in(plugins)), other)
    return run_app(recorded, glyphs=look.glyphs, theme=look.theme, added=added)


def _requests(
    shows_demo: bool, prompts: Sequence[str], workload: Path | None, sampling: SamplingFlags
) -> Sequence[RequestText]:
    if shows_demo:
        return demo.demo_requests()
    if prompts or workload is not None:
        return read_requests(prompts, workload, sampling)
    return ()


def _check_session(path: Path) -> None:
    """Raise SessionError now, in one line, rather than on the screen."""
    from sessions.reader import Session

    Session.open(path).close()


def _need_terminal() -> None:
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):  # it draws on stderr
        raise CommandError("the workbench needs a terminal: use `workbench record` to run without one")
