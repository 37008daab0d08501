"""Loading the model behind a recording: only the same model, and every request given to it once."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from engine import protocol as pr
from engine.forking import ForkSpec
from engine.interventions import Scale
from engine.model.fingerprint import fingerprint
from tests.recorded import DEMO_HEADER, engine_on, record_demo, writer_on
from tests.screens import press, screen_text, settle, workbench_on
from tests.scripted import spec
from workbench.model_behind import ModelBehind, ModelMissingError, check_model
from workbench.record import Record
from workbench.source import Recorded

BUNDLED = Path(__file__).parent.parent / "models" / "tiny-python-draft"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("load") / "run.wbs"
    record_demo(path)
    return path


def test_only_the_recorded_model_will_do(tmp_path: Path) -> None:
    found = fingerprint(BUNDLED)
    same = msgspec.structs.replace(
        DEMO_HEADER,
        model_path=str(BUNDLED),
        config_sha256=found.config_sha256,
        weights_sha256=found.weights_sha256,
    )
    assert check_model(same) == BUNDLED
    with pytest.raises(ModelMissingError, match="another model now"):
        check_model(msgspec.structs.replace(same, weights_sha256="0" * 64))
    with pytest.raises(ModelMissingError, match="is not there"):
        check_model(msgspec.structs.replace(same, model_path=str(tmp_path / "gone")))


def test_a_recorded_request_is_given_to_the_engine_once(session: Path) -> None:
    record = Record.open(session)
    behind, sent = ModelBehind(lambda: record), []

    def send(command: pr.Command) -> int:
        sent.append(command)
        return len(sent)

    assert behind.inspect(pr.Inspect(request="2", position=5), send) == 2
    assert behind.inspect(pr.Inspect(request="2", position=6), send) == 3
    assert behind.inspect(pr.Inspect(request="1", position=0), send) == 5
    given, first, again, _, other = sent
    assert given.request.prompt_ids == tuple(record.token_ids("2"))
    assert (first.request, again.request, other.request) == ("1", "1", "2")
    behind.close()
    record.close()


def test_a_fork_with_scaled_stages_is_given_with_them(tmp_path: Path) -> None:
    writer = writer_on(tmp_path / "scaled.wbs", DEMO_HEADER)
    engine = engine_on(writer, DEMO_HEADER)
    engine.submit(spec(range(6), 8))
    engine.run(4)
    scales = (Scale(1, "attn_out", 0.0, 1),)
    engine.fork(ForkSpec("1", 8, scales=scales))
    engine.run()
    writer.close()
    record, sent = Record.open(tmp_path / "scaled.wbs"), []
    behind = ModelBehind(lambda: record)

    def send(command: pr.Command) -> int:
        sent.append(command)
        return len(sent)

    behind.inspect(pr.Inspect(request="2", position=9), send)
    given, forked, look = sent
    assert given.request.prompt_ids == tuple(record.token_ids("2"))
    assert forked.fork == pr.ForkText("1", 7, scales=scales)
    assert look.request == "2"
    behind.close()
    record.close()


async def test_l_says_why_there_is_no_model(session: Path) -> None:
    source = Recorded(session, [sys.executable, "-c", ""])
    async with workbench_on(source) as (app, pilot):
        await press(pilot, "L")
        await app.workers.wait_for_complete()
        await settle(pilot)
        assert "models/scripted, and that folder is not there" in screen_text(app)
    async with workbench_on(session) as (app, pilot):
        await press(pilot, "L")
        assert "not told how to start an engine" in screen_text(app)
