"""The models behind the sessions that are compared: found, checked against the record, loaded once each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.model.fingerprint import Fingerprint, fingerprint
from engine.plugs import Plugs
from sessions.diff_plans import plan_of
from sessions.diff_result import Rebuilding
from sessions.diff_side import Side
from sessions.header import Header
from workbench.cli.errors import CommandError
from workbench.cli.plugging import plugged_as_recorded
from workbench.model_behind import check_model, recorded_options

if TYPE_CHECKING:
    from engine.divergence_rebuild import Rebuilt, Told
    from engine.kv.pool import MakePool
    from engine.model.decoder import Decoder

FAR = {"float32": 1e-3}
FAR_IN_TWO_BYTES = 0.25
"""Logits that differ more from the record are not those of the run: its cache could not be built so."""


@dataclass(slots=True)
class Models:
    """Folders and decoders by the hashes that sessions recorded. `given` is the folder that a person named."""

    given: Path | None = None
    _given: Fingerprint | None = None
    _decoders: dict[tuple[str, str, str, bool, tuple[str, ...]], Decoder] = field(default_factory=dict)

    def folder(self, header: Header) -> Path:
        """The folder of a session's model. Raises ModelMissingError where it is gone, or another one now."""
        if self.given is not None and self._is_given(header):
            return self.given
        return check_model(header)

    def check_given(self, headers: Sequence[Header]) -> None:
        """Raise CommandError where the folder a person named is the model of none of the sessions."""
        if self.given is not None and not any(self._is_given(header) for header in headers):
            raise CommandError(
                f"--model {self.given}: its hashes are those of none of the sessions: give the folder they were"
                " recorded with"
            )

    def decoder(self, header: Header) -> Decoder:
        """The model of a session, in the type and with the kernels it ran with."""
        from engine.load import decoder_of
        from engine.model.invariant import invariant

        ran_with = (*header.options.plugins, *(each.sha256 for each in header.adapters))
        key = (header.config_sha256, header.weights_sha256, header.dtype, header.options.invariant, ran_with)
        if key not in self._decoders:
            adapters = recorded_options(header).adapters
            decoder = decoder_of(self.folder(header), header.dtype, self._plugs(header), adapters)
            self._decoders[key] = invariant(decoder) if header.options.invariant else decoder
        return self._decoders[key]

    def make_pool(self, header: Header) -> MakePool:
        """How a session's run kept keys and values."""
        from engine.kv.making import pool_maker

        return pool_maker(self._plugs(header))

    def _plugs(self, header: Header) -> Plugs:
        return plugged_as_recorded(header)[1] if header.options.plugins else Plugs()

    def _is_given(self, header: Header) -> bool:
        if self._given is None:
            assert self.given is not None
            self._given = fingerprint(self.given)
        return self._given == Fingerprint(header.config_sha256, header.weights_sha256)


def rebuild(side: Side, request: str, position: int, models: Models, told: Told) -> tuple[Rebuilt, Rebuilding]:
    """The run behind the row that chose the token at `position` + 1, and how close it comes to its record.

    Where the steps that the row seems to depend on do not give its logits again, all steps are run.
    """
    decoder = models.decoder(side.session.header)
    make_pool = models.make_pool(side.session.header)
    found = _rebuild(side, request, position, decoder, make_pool, told, every_step=False)
    worst, limit = found[1].worst, FAR.get(side.session.header.dtype, FAR_IN_TWO_BYTES)
    if worst is not None and worst > limit:
        found = _rebuild(side, request, position, decoder, make_pool, told, every_step=True)
    return found


def _rebuild(
    side: Side, request: str, position: int, decoder: Decoder, make_pool: MakePool, told: Told, *,
    every_step: bool,
) -> tuple[Rebuilt, Rebuilding]:  # fmt: skip
    from engine.divergence_rebuild import Rebuilt
    from engine.model.stage_names import OUTSIDE

    header = side.session.header
    plan = plan_of(side.session, request, position, every_step=every_step, branch=side.branch)
    size = header.options.block_size
    run = Rebuilt(
        decoder, header.num_blocks, size, plan.jobs, plan.request, position, told,
        threads=header.options.threads, make_pool=make_pool,
    )  # fmt: skip
    logits = run.row(position).stages[OUTSIDE, "logits"].numpy()
    worst = distance_from_record(side, request, position + 1, logits.tobytes())
    return run, Rebuilding(len(plan.jobs), plan.tokens, worst)


def distance_from_record(side: Side, request: str, position: int, logits: bytes) -> float | None:
    """The largest difference from the logits recorded of the choice at `position`; 0 where the hashes agree."""
    import numpy as np
    import xxhash

    details = side.session.details(request, position, side.branch)
    if details is None:
        return None
    if xxhash.xxh3_64_intdigest(logits) == details.logits_hash:
        return 0.0
    found = np.frombuffer(logits, "<f4")[np.array(details.candidates.ids)]
    return float(np.abs(found - np.array(details.candidates.raw, np.float32)).max())
