"""What a record would have come to under other options: the run as it was beside runs of the simulation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.engine import MakeStopStrings
from engine.reasons import REFUSALS
from engine.state import State
from engine.text import OutputText, Tokenizer
from sessions.explain import Run
from sessions.explain_facts import Life, RunTotals
from sessions.explain_fold import Gatherer
from sessions.explain_history import History, Progress, no_progress
from sessions.reader import Session
from sessions.simulate import Setting, Simulation
from sessions.simulate_check import Verdict, verify
from sessions.simulate_inputs import Inputs, read_inputs
from sessions.simulate_options import WhatIfError, setting_of


@dataclass(frozen=True, slots=True)
class Course:
    """One request in one run. `steps` are those from its arrival to its end."""

    waited_steps: int
    cached_tokens: int
    preemptions: int
    recomputed_tokens: int
    steps: int


@dataclass(frozen=True, slots=True)
class Column:
    """One run: its totals, and its requests by id.

    `cut_short` would have gone on where the record has no more tokens, `refused` could never run there. Steps in
    which nothing could have run are not part of it, but counted as `skipped_steps`.
    """

    name: str
    totals: RunTotals
    courses: Mapping[str, Course]
    refused: tuple[str, ...] = ()
    cut_short: tuple[str, ...] = ()
    skipped_steps: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """A request that did not fare the same: as recorded, and in another run."""

    request: str
    before: Course
    after: Course


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The run as recorded, and what it would have been; `verdict` says how far the simulation can be trusted."""

    verdict: Verdict
    before: Column
    after: tuple[Column, ...]


def what_if(
    session: Session, asked: Sequence[str], run: Run, branch: int = 0, progress: Progress = no_progress
) -> WhatIf:
    """Simulate the record under each of `asked`, such as `block-size=4,policy=lpm`; `run` is what it was.

    Where the simulation cannot reproduce the record, a run of it with unchanged options comes first.
    Raises WhatIfError for what cannot be asked.
    """
    settings = [(text, setting_of(text, session.header)) for text in asked]
    history, stops = History(session, branch), _stop_strings(session)
    inputs = read_inputs(history.events())
    verdict = verify(inputs, session.header, history.events(), stops, progress)
    if not verdict.reproduced:
        settings.insert(0, ("simulated as it was", Setting(session.header.options, session.header.num_blocks)))
    columns = [_simulated(name, session, inputs, setting, stops, progress) for name, setting in settings]
    return WhatIf(verdict, _column("recorded", run.lives, run.totals), tuple(columns))


def check_simulated(session: Session, branch: int) -> None:
    """Raise WhatIfError where the record holds what no simulation can tell."""
    if any(row.sampling.beams > 1 for row in session.requests(branch)):
        raise WhatIfError(
            "this record has a beam search, and which beams go on cannot be told without the model: record it"
            " again with other options"
        )


def biggest_changes(before: Column, after: Column, most: int, wanted: Collection[str] = ()) -> list[Change]:
    """The requests that fared most differently, by steps waited, then by tokens computed again and cached.

    Those that did not do the same work in both are left out. With `wanted`, these, whatever their changes.
    """
    different = {*before.refused, *after.refused, *after.cut_short}
    both = [id_ for id_ in before.courses if id_ in after.courses and id_ not in different]
    changes = [Change(id_, before.courses[id_], after.courses[id_]) for id_ in both]
    if wanted:
        return [change for change in changes if change.request in wanted]
    changes = [change for change in changes if change.before != change.after]
    return sorted(changes, key=_size, reverse=True)[:most]


def _size(change: Change) -> tuple[int, int, int, int]:
    before, after = change.before, change.after
    return (
        abs(after.waited_steps - before.waited_steps), abs(after.recomputed_tokens - before.recomputed_tokens),
        abs(after.cached_tokens - before.cached_tokens), abs(after.steps - before.steps),
    )  # fmt: skip


def _simulated(
    name: str, session: Session, inputs: Inputs, setting: Setting, stops: MakeStopStrings | None,
    progress: Progress,
) -> Column:  # fmt: skip
    state = State.at_start(setting.num_blocks, setting.options)
    gatherer = Gatherer(state, inputs.tokens, compare=False)
    simulation = Simulation(inputs, session.header, setting, gatherer.take, stops)
    simulation.run(progress=progress)
    lives = gatherer.lives()
    cut_short = tuple(life.request for life in lives if life.request in simulation.cut_short)
    return _column(name, lives, gatherer.totals(lives), cut_short, simulation.skipped_steps)


def _column(
    name: str, lives: Iterable[Life], totals: RunTotals, cut_short: tuple[str, ...] = (), skipped_steps: int = 0
) -> Column:
    refused = tuple(life.request for life in lives if life.ending and life.ending.detail in REFUSALS)
    return Column(
        name, totals, {life.request: _course(life) for life in lives}, refused, cut_short, skipped_steps
    )  # fmt: skip


def _course(life: Life) -> Course:
    steps = sum(span.steps for span in life.phases)
    return Course(
        life.waited_steps, life.cached_tokens, len(life.preemptions), life.recomputed_tokens, steps
    )  # fmt: skip


def _stop_strings(session: Session) -> MakeStopStrings | None:
    """Finds stop strings by the tokenizer in the session, as the run did; without one there were none."""
    tokenizer = session.vocabulary
    if not isinstance(tokenizer, Tokenizer):
        return None
    return lambda prompt_ids, stops: OutputText(tokenizer, prompt_ids, stops)
