"""What stands for the model in a simulation: the next token of a request is the one that the record has there."""

from __future__ import annotations

from engine.execution import NO_DETAILS, Job, Outcome
from engine.kv.writes import WriteClock
from engine.tokens import TokenLog


class RecordedTokens:
    """As much of an `Executor` as whole steps need: nobody halts a pass here, or looks into one.

    Answers from `record`, the tokens of a finished run. There is no KV, so that `writes` never ticks.
    """

    def __init__(self, record: TokenLog) -> None:
        self._record = record
        self.writes = WriteClock(0)

    def execute(self, job: Job) -> Outcome:
        tokens = [self._record.tokens_of(choice.request)[choice.position] for choice in job.choices]
        return Outcome(tokens, [None] * len(tokens), NO_DETAILS, 0, 0)

    def forget(self, request: str) -> None:
        """Nothing is kept of a request."""
