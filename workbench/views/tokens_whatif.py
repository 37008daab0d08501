"""What other sampler settings would have chosen: the stages worked again from logits that were inspected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from engine import protocol as pr
from engine.changed_logits import Processed
from engine.details import TokenDetails
from engine.execution import recorded_processing
from engine.params import SamplingParams
from workbench.record import Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings tried on a request, beside those it has."""

    request: str
    recorded: SamplingParams
    tried: SamplingParams

    @property
    def changes(self) -> str:
        """What differs, in words: `temperature 0.8 → 1.2`."""
        fields = SamplingParams.__struct_fields__
        pairs = [(name, getattr(self.recorded, name), getattr(self.tried, name)) for name in fields]
        changed = [f"{name.replace('_', ' ')} {was:g} → {now:g}" for name, was, now in pairs if was != now]
        return ", ".join(changed) or "as recorded"


class Given(NamedTuple):
    """A prompt token, where the model would have put it."""

    token: int
    rank: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Reworked:
    """The choice under other settings, from logits that differ from the record by `worst` at most."""

    details: TokenDetails
    worst: float | None  # None: nothing was recorded to compare with
    given: Given | None = None  # of a prompt token: it was not chosen
    captured: bool = False  # the logits were kept while the engine ran


def rework_choice(
    record: Record, request: str, position: int, logits: bytes, tried: SamplingParams
) -> Reworked | str:
    """What `tried` would choose for `position` from `logits` (little-endian float32, the row before it).

    The position may be one that was chosen, one of the prompt, or the next to come. The draw is the one of
    the run: it depends on seed, sample and position alone. Returns the reason where the settings leave nothing
    to choose from.
    """
    import numpy as np

    from engine.explain import rework
    from engine.sampler_rows import SamplerRows
    from engine.sampling import SamplingError

    about = record.request(request)
    assert about is not None
    if tried.beams > 1 and tried != about.sampling:
        return "a beam search chose it: what it goes on with depends on the rows of all its beams"
    values = np.frombuffer(logits, "<f4")
    rows = SamplerRows(record.about.options.seed, len(values))
    ids = record.token_ids(request)[:position]
    done = processed(record, request, position)
    sampler_row = rows.row(request, tried, about.sample, about.prompt_tokens, ids, done)
    recorded = record.details(request, position)
    try:
        details = rework(values, sampler_row, tried)
    except SamplingError as error:
        return str(error)
    worst = None if recorded is None else worst_of(values, recorded)
    return Reworked(details, worst, _given(record, request, details, values))


def processed(record: Record, request: str, position: int) -> tuple[Processed, ...]:
    """What plugins changed of the logits before that token was chosen, in the request or one it forked from."""
    about = record.request(request)
    while about is not None and about.parent is not None and position < (about.at_position or 0):
        about = record.request(about.parent)
    row = None if about is None else record.token_row(about.request, position)
    if about is None or row is None:
        return ()
    events = (each.event for each in record.events_of(row.chosen_step))
    return recorded_processing(events).get((about.request, position), ())


def _given(record: Record, request: str, details: TokenDetails, logits: npt.NDArray[np.float32]) -> Given | None:
    """The prompt token at the position that was worked out; None for a generated one."""
    about = record.request(request)
    if about is None or details.position >= about.prompt_tokens:
        return None
    token = record.token_ids(request)[details.position]
    rank = 1 + int((logits > logits[token]).sum())
    return Given(token, rank, float(logits[token]) - details.raw_lse)


def worst_difference(inspection: pr.Inspection, recorded: TokenDetails) -> float:
    """The largest difference between inspected logits and the recorded ones of the candidates."""
    import numpy as np

    return worst_of(np.frombuffer(inspection.logits, "<f4"), recorded)


def worst_of(logits: npt.NDArray[np.float32], recorded: TokenDetails) -> float:
    import numpy as np

    candidates = recorded.candidates
    return float(np.abs(logits[list(candidates.ids)] - np.asarray(candidates.raw, np.float32)).max())


__all__ = ["Reworked", "Settings", "rework_choice", "worst_difference"]
