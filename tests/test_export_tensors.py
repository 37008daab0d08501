"""Captured tensors as safetensors: read back by the format's own library, equal to the last bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sessions.errors import SessionError
from sessions.export import ExportOptions, export_session
from sessions.reader import Session
from tests.exported import attention, record_spiced, residual
from tests.recorded import SHAPE, record_demo


@pytest.fixture(scope="module")
def spiced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_spiced(tmp_path_factory.mktemp("tensors") / "spiced.wbs")


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_every_captured_tensor_is_there_under_its_name(spiced, tmp_path) -> None:
    export_session(spiced, "safetensors", tmp_path / "a.safetensors")
    tensors, metadata = read(tmp_path / "a.safetensors")
    with Session.open(spiced) as session:
        assert len(tensors) == session.count_rows("tensors")
        for row in (row for request in session.requests() for row in session.tokens(request.request)):
            place = f"req.{row.request}/pos.{row.position - 1}"
            for layer in range(SHAPE.layers):
                base = f"step{row.chosen_step:06}/layers.{layer:02}"
                assert np.array_equal(tensors[f"{base}/attn_pattern/{place}"], attention(row.position, layer))
                assert np.array_equal(tensors[f"{base}/resid_post/{place}"], residual(row.position, layer))
            assert tensors[f"step{row.chosen_step:06}/logits/{place}"].shape == (SHAPE.vocab_size,)
    assert json.loads(metadata["workbench.header"])["model_name"] == "scripted"
    assert json.loads(metadata["workbench.excerpt"])["left_out"] == []


def test_one_request_needs_no_name_of_its_own(spiced, tmp_path) -> None:
    options = ExportOptions(requests="2", layers="1", stages="attn_pattern", steps="2:4")
    export_session(spiced, "safetensors", tmp_path / "a.safetensors", options)
    tensors, _ = read(tmp_path / "a.safetensors")
    with Session.open(spiced) as session:
        rows = [row for row in session.tokens("2") if 2 <= row.chosen_step <= 4]
    assert sorted(tensors) == [f"step{row.chosen_step:06}/layers.01/attn_pattern" for row in rows]
    for row in rows:
        name = f"step{row.chosen_step:06}/layers.01/attn_pattern"
        assert np.array_equal(tensors[name], attention(row.position, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": "gate"}, "--stages names 'gate': there is attn_pattern, logits, resid_post"),
        ({"layers": "2"}, "--layers is '2': the model has layers 0 to 1"),
        ({"layers": "x"}, "--layers is 'x': name layers as in 0-3"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(spiced, tmp_path, options, message) -> None:
    with pytest.raises(SessionError, match=message):
        export_session(spiced, "safetensors", tmp_path / "a.safetensors", ExportOptions(**options))
    assert list(tmp_path.iterdir()) == []


def test_a_session_without_tensors_says_how_to_capture_them(tmp_path) -> None:
    record_demo(tmp_path / "demo.wbs")
    with pytest.raises(SessionError, match="record with --capture attn"):
        export_session(tmp_path / "demo.wbs", "safetensors", tmp_path / "a.safetensors")


def test_where_redaction_leaves_nothing_the_session_that_was_named_is_spoken_of(spiced, tmp_path) -> None:
    options = ExportOptions(redact=True, stages="logits", steps="1:1", requests="2")
    with pytest.raises(SessionError) as refused:
        export_session(spiced, "safetensors", tmp_path / "a.safetensors", options)
    assert str(refused.value).startswith(f"{spiced} holds no captured tensors")
    assert "which redaction leaves out" in str(refused.value)
