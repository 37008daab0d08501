"""The writer explains tokens as the engine would have, from nothing but their logits and what was said."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from engine import events as ev
from engine.details import TokenDetails
from engine.engine import Engine
from engine.execution import DetailsOf
from engine.params import RequestSpec, SamplingParams
from sessions.reader import Session
from sessions.writer import Writer
from tests.bundled import bundled_engine, decoder, executor_of
from tests.recorded import header, writer_on

PARAMS = [
    SamplingParams(max_tokens=8),
    SamplingParams(max_tokens=8, temperature=0.9, top_k=30, top_p=0.9, min_p=0.01),
    SamplingParams(
        max_tokens=8, temperature=0.7, repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.2,
        logit_bias={5: 2.0}, seed=3,
    ),
    SamplingParams(max_tokens=8, repetition_penalty=1.2),
]  # fmt: skip


class AskingSink:
    """Passes everything on to a writer, and asks the engine for its own details as well."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.details: dict[int, list[TokenDetails]] = {}

    def record(self, events: Sequence[ev.Event]) -> None:
        self._writer.record(events)

    def commit(self, events: Sequence[ev.Event], details: DetailsOf | None) -> None:
        self._writer.commit(events, details)
        if details is not None:
            self.details[events[-1].step] = list(details())


def test_recorded_details_are_those_of_the_engine(tmp_path) -> None:
    made = bundled_engine(24, block_size=4, token_budget=16, seed=11)
    about = header(24, block_size=4, token_budget=16, seed=11)
    about = replace(about, shape=replace(about.shape, vocab_size=decoder().config.vocab_size))
    writer = writer_on(tmp_path / "run.wbs", about)
    sink = AskingSink(writer)
    engine = Engine(executor_of(made), made.limits, 24, made.options, sink)
    for number, params in enumerate(PARAMS):
        engine.submit(RequestSpec(tuple(range(40 + number, 52 + number)), params, n=2))
    engine.run()
    writer.close()
    with Session.open(tmp_path / "run.wbs") as session:
        assert sum(map(len, sink.details.values())) == 8 * 8
        for step, details in sink.details.items():
            assert session.details_of_step(step) == details
