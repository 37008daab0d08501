"""Sessions of the first schema version still open: recorded then, and kept as they were."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from engine import keyframe
from engine.state import State
from sessions.reader import Session
from tests.commands import run

GOLDEN = Path(__file__).parent / "golden" / "session-v1.wbs.xz"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("older") / "v1.wbs"
    path.write_bytes(lzma.decompress(GOLDEN.read_bytes()))
    return path


def test_every_step_folds_from_its_keyframes(older: Path) -> None:
    with Session.open(older) as session:
        assert session.header.schema_version == 1
        assert session.count_rows("keyframes") > 3
        folded = State.at_start(session.header.num_blocks, session.header.options)
        for step in range(session.last_step() + 1):
            for row in session.events_of_step(step):
                folded.apply(row.event)
            assert keyframe.pack(session.state_at(step)) == keyframe.pack(folded)
        for row in session.requests():
            assert row.parent is None
            assert len(session.tokens_of(row.request)) == row.prompt_tokens + row.output_tokens


@pytest.mark.parametrize("command", ["sessions show {}", "explain {}", "sessions show {} --json"])
def test_the_commands_read_it(older: Path, command: str) -> None:
    ran = run(*command.format(older).split())
    assert ran.code == 0, ran.err
    assert ran.out
