"""Whole logits of two runs, worked out again for `diff --logits` and kept in a temporary file."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import IO

from sessions.diff_plans import all_jobs
from sessions.diff_result import Rerun
from sessions.diff_side import Side
from sessions.diff_whole import Whole
from workbench.cli.diff_models import Models, distance_from_record
from workbench.cli.progress import Progress

FLOAT_BYTES = 4


class LogitsAgain:
    """The logits of every choice of a run; `about` says how close they are to its record."""

    def __init__(self, side: Side, models: Models, file: IO[bytes], told: Progress) -> None:
        self._vocab = side.session.header.shape.vocab_size
        self._file = file
        self._places: dict[tuple[str, int], int] = {}
        self.about = self._run(side, models, told)

    def whole(self, request: str, position: int) -> Whole | None:
        """What the token at `position` was chosen from."""
        place = self._places.get((request, position))
        if place is None:
            return None
        self._file.seek(place * self._vocab * FLOAT_BYTES)
        return Whole(self._file.read(self._vocab * FLOAT_BYTES), "recomputed")

    def _run(self, side: Side, models: Models, told: Progress) -> Rerun:
        import torch

        from engine.divergence_logits import logits_again

        header, last = side.session.header, side.session.last_step(side.branch)
        decoder = models.decoder(header)
        if header.options.threads is not None:
            torch.set_num_threads(header.options.threads)
        equal, worst = 0, 0.0
        jobs = all_jobs(side.session, side.branch, lambda step: told(step, last))
        for request, position, logits in logits_again(
            decoder, header.num_blocks, header.options.block_size, jobs, models.make_pool(header)
        ):
            data = logits.numpy().astype("<f4").tobytes()
            self._file.write(data)
            self._places[request, position] = len(self._places)
            off = distance_from_record(side, request, position, data)
            equal, worst = equal + (off == 0), max(worst, off or 0.0)
        return Rerun(len(self._places), equal, worst)


def run_again(sides: tuple[Side, Side], models: Models, files: ExitStack, told: Progress) -> tuple[Rerun, Rerun]:
    """Give both sides their whole logits, for as long as `files` are open."""
    one, other = (
        LogitsAgain(side, models, files.enter_context(tempfile.TemporaryFile()), told)  # noqa: SIM115
        for side in sides
    )
    sides[0].worked_out, sides[1].worked_out = one.whole, other.whole
    return one.about, other.about
