"""What `--capture` stores is what ran: attention, residual stream and logits of each row that chose a token."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace as replaced
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import xxhash
from msgspec.structs import replace

from engine import protocol as pr
from engine.capture import Captured, CaptureSpec, LayerRange, TensorKey, Wanted, parse, wanted
from engine.capturing import Keeper
from engine.engine import Engine
from engine.execution import Choice
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.load import limits_of
from engine.model.batch import Batch, Span
from engine.model.weights import load_decoder
from engine.observe import observe
from engine.option_error import OptionError
from engine.params import EngineOptions, RequestSpec, SamplingParams
from engine.probes import PatternProbe, Probe
from sessions.reader import Session
from sessions.recorder import Recorder
from sessions.records import TensorRow
from sessions.writer_process import FLUSH_AFTER_S
from tests.bundled import decoder
from tests.commands import run as command
from tests.recorded import header, writer_on
from tests.screens import press, settle, view_text, workbench_on
from tests.tiny_models import Paged, save_model, token_ids
from workbench.selection import Selection

BLOCKS, BLOCK_SIZE = 48, 4
PROMPT = tuple(range(40, 63))
REQUESTS = (
    RequestSpec(PROMPT, SamplingParams(max_tokens=9, ignore_eos=True)),
    RequestSpec((*PROMPT[:14], 7, 8), SamplingParams(max_tokens=7, temperature=0.9, top_k=40, seed=3), n=2),
    RequestSpec(PROMPT[::-1], SamplingParams(max_tokens=6, temperature=0.7, top_p=0.9, seed=4)),
)


def run(path: Path, *capture: str) -> Engine:
    """A recorded run on the bundled model, prompts in chunks, with prefixes and a prefill that are shared."""
    about = header(BLOCKS, block_size=BLOCK_SIZE, token_budget=16, capture=capture)
    config = decoder().config
    sizes = {name: getattr(config, name) for name in ("layers", "heads", "kv_heads", "vocab_size")}
    writer = writer_on(path, replace(about, shape=replace(about.shape, **sizes)))
    executor = TorchExecutor(
        decoder(), KVPool(config, BLOCKS, BLOCK_SIZE), about.options.seed, wanted(capture, config.layers)
    )
    engine = Engine(executor, limits_of(config), BLOCKS, about.options, writer)
    for request in REQUESTS:
        engine.submit(request)
    engine.run()
    writer.close()
    return engine


def outputs(engine: Engine) -> dict[str, Sequence[int]]:
    return {request: tuple(engine.tokens.tokens_of(request)) for request in ("1", "2.0", "2.1", "3")}


def array(session: Session, row: TensorRow) -> npt.NDArray[np.float32]:
    assert row.dtype == "F32"
    return np.frombuffer(session.tensor_bytes(row), "<f4").reshape(row.shape)


def all_rows(session: Session, stage: str) -> list[TensorRow]:
    steps = range(1, session.last_step() + 1)
    return [row for step in steps for row in session.tensors(step) if row.key.stage == stage]


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Session]:
    path = tmp_path_factory.mktemp("capture") / "run.wbs"
    engine = run(path, "attn", "resid:0,4-5", "logits")
    return engine, Session.open(path)


# -- what is asked for ---------------------------------------------------------------------------------


def test_specs_name_a_kind_and_perhaps_layers() -> None:
    assert parse("attn") == CaptureSpec("attn", None)
    assert parse("resid:5,7") == CaptureSpec("resid", (LayerRange(5, 5), LayerRange(7, 7)))
    assert wanted(("attn:0-2", "attn:2,4", "resid"), 6) == Wanted(
        frozenset({0, 1, 2, 4}), frozenset(range(6)), logits=False
    )
    assert wanted(("logits",), 6) == Wanted(logits=True)
    assert not wanted((), 6)


BAD = {
    "kv": "use attn, logits or resid",
    "": "use attn, logits or resid",
    "logits:0": "use attn, logits or resid",
    "attn:": "'' is no layer",
    "attn:x": "'x' is no layer",
    "attn:-1": "'-1' is no layer",
    "resid:1,,2": "'' is no layer",
    "resid:1-2-3": "'1-2-3' is no layer",
    "resid:٣": "is no layer",
    "resid:" + "9" * 5000: "is no layer",
    "attn:3-1": "the range 3-1 ends before it begins",
}


@pytest.mark.parametrize(("spec", "says"), BAD.items(), ids=[spec[:12] or "empty" for spec in BAD])
def test_a_bad_spec_is_refused_with_its_value(spec: str, says: str) -> None:
    with pytest.raises(OptionError) as refused:
        EngineOptions(capture=("attn", spec))
    assert str(refused.value).startswith(f"capture is {spec!r}: ")
    assert says in str(refused.value)


def test_layers_are_checked_against_the_model() -> None:
    for spec in ("attn:6", "resid:0-999999"):
        with pytest.raises(OptionError, match="the model has layers 0 to 5"):
            wanted((spec,), 6)


def test_the_command_line_refuses_what_cannot_be_captured_in_one_line(tmp_path: Path) -> None:
    for spec, says in {"kv": "use attn, logits or resid", "attn:6": "there is no layer 6"}.items():
        ran = command("record", "--prompt", "x", "--capture", spec, "-o", tmp_path / "run.wbs")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith(f"workbench: --capture is {spec!r}: ")
        assert says in ran.err
        assert ran.err.count("\n") == 1
        assert not (tmp_path / "run.wbs").exists()


def test_the_command_line_captures_what_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "run.wbs"
    asked = ("--capture", "attn:0-1", "--capture", "logits")
    ran = command("record", "--prompt", "def f(x):", "--max-tokens", 3, *asked, "-o", path)
    assert ran.code == 0, ran.err
    with Session.open(path) as session:
        assert session.header.options.capture == ("attn:0-1", "logits")
        found = [(row.key.layer, row.key.stage) for row in session.tensors(2)]
        assert found == [(0, "attn_pattern"), (1, "attn_pattern"), (None, "logits")]


# -- what is stored ------------------------------------------------------------------------------------


def test_every_row_that_chose_a_token_is_stored_once(captured: tuple[Engine, Session]) -> None:
    _, session = captured
    layers = {"attn_pattern": range(6), "resid_post": (0, 4, 5), "logits": (None,)}
    expected = {
        (token.chosen_step, request.request, layer, stage, token.position - 1)
        for request in session.requests()
        for token in session.tokens(request.request)
        for stage, of in layers.items()
        for layer in of
    }
    found = [(k.step, k.request, k.layer, k.stage, k.start) for stage in layers for k in keys(session, stage)]
    assert len(found) == len(set(found))
    assert set(found) == expected


def keys(session: Session, stage: str) -> list[object]:
    return [row.key for row in all_rows(session, stage)]


def test_stored_logits_are_the_recorded_ones_bit_by_bit(captured: tuple[Engine, Session]) -> None:
    _, session = captured
    for row in all_rows(session, "logits"):
        assert row.key.request is not None
        token = session.token(row.key.request, row.key.start + 1)
        assert token is not None
        hash_ = xxhash.xxh3_64_intdigest(session.tensor_bytes(row))
        assert token.logits_hash is not None
        assert hash_ == token.logits_hash % (1 << 64)


def test_stored_attention_is_what_an_inspection_of_the_row_finds(captured: tuple[Engine, Session]) -> None:
    engine, session = captured
    rows = all_rows(session, "attn_pattern")
    for key in {(row.key.request, row.key.start) for row in rows}:
        request, position = key
        assert request is not None
        seen = engine.inspect(pr.Inspect(request=request, position=position))
        again = np.frombuffer(seen.row, "<f4").reshape(seen.layers, seen.heads, seen.kv)
        for row in rows:
            if (row.key.request, row.key.start) == key:
                stored = array(session, row)
                assert stored.shape == (seen.heads, position + 1)
                np.testing.assert_allclose(stored, again[row.key.layer], atol=1e-5)


def test_the_stored_residual_stream_is_what_a_probe_sees(captured: tuple[Engine, Session]) -> None:
    engine, session = captured
    for row in all_rows(session, "resid_post")[::7]:
        assert row.key.request is not None
        assert row.key.layer is not None
        tokens = engine.tokens.tokens_of(row.key.request)[: row.key.start + 1]
        pool = KVPool(decoder().config, BLOCKS, BLOCK_SIZE)
        batch = Batch.build([Span("x", 0, len(tokens), range(BLOCKS))], tokens, BLOCK_SIZE)
        probe = Probe(row.key.layer, "resid_post")
        seen = observe(decoder(), batch, pool, [probe]).captured[probe][-1]
        torch.testing.assert_close(torch.from_numpy(array(session, row).copy()), seen, atol=1e-4, rtol=1e-4)


def test_capturing_changes_no_token_and_no_logit(captured: tuple[Engine, Session], tmp_path: Path) -> None:
    engine, session = captured
    bare = run(tmp_path / "bare.wbs")
    assert outputs(bare) == outputs(engine)
    with Session.open(tmp_path / "bare.wbs") as without:
        assert all_rows(without, "logits") == []
        for request in session.requests():
            assert without.tokens(request.request) == session.tokens(request.request)
        assert without.header.options.capture == ()
    assert session.header.options.capture == ("attn", "resid:0,4-5", "logits")


@pytest.mark.parametrize(
    ("family", "dtype", "settings"),
    [
        ("mistral", torch.float32, {"sliding_window": 7}),
        ("qwen2", torch.bfloat16, {"num_key_value_heads": 6}),
        ("llama", torch.float16, {"num_key_value_heads": 1, "head_dim": 12}),
    ],
    ids=["window", "bfloat16", "one KV head"],
)
def test_captured_attention_is_what_a_probe_finds_in_the_same_pass(
    tmp_path: Path, family: str, dtype: torch.dtype, settings: dict[str, int]
) -> None:
    save_model(tmp_path, family, dtype, **settings)
    paged = Paged(load_decoder(tmp_path, dtype))
    long, short = paged.request("1", token_ids(30)), paged.request("2", token_ids(12, seed=1))
    for work in ([(long, 20)], [(long, 9), (short, 11)], [(long, 1), (short, 1)]):
        batch = paged.batch(*work)
        batch = Batch.build(
            [replaced(span, logit_rows=1) for span in batch.spans], batch.token_ids.tolist(), batch.block_size
        )
        choices = [
            Choice(request.name, at, 0, SamplingParams(), 0, request.ids[: request.computed + tokens])
            for at, (request, tokens) in enumerate(work)
        ]
        with torch.inference_mode():
            asked = wanted(("attn", "resid:1", "logits"), 3)
            keeper = Keeper(paged.decoder, paged.pool, batch, choices, asked)
            for layer, stage, tensor in paged.decoder.stages(batch, paged.pool):
                keeper.at(layer, stage, tensor)
                logits = tensor
            taken = keeper.taken
        patterns = {
            (request.name, layer): PatternProbe(layer, request.name, rows=(tokens - 1,))
            for request, tokens in work
            for layer in range(3)
        }
        seen = observe(paged.decoder, batch, paged.pool, [Probe(1, "resid_post")], list(patterns.values()))
        assert torch.equal(seen.logits, logits)
        assert len(taken) == 5 * len(work)
        for item in taken:
            stored = torch.frombuffer(bytearray(item.data), dtype=torch.float32).view(item.shape)
            at = [request.name for request, _ in work].index(item.request)
            assert item.position == batch.spans[at].end - 1
            if item.stage == "attn_pattern":
                assert item.layer is not None
                again = seen.patterns[patterns[item.request, item.layer]].pattern[:, 0]
                torch.testing.assert_close(stored, again, atol=1e-5, rtol=0)
            elif item.stage == "resid_post":
                kept = seen.captured[Probe(1, "resid_post")][batch.rows(at).stop - 1]
                assert torch.equal(stored, kept.float())
            else:
                assert torch.equal(stored, logits[at])
        for request, tokens in work:
            request.computed += tokens


def test_captured_tensors_are_written_with_their_step(tmp_path: Path) -> None:
    path = tmp_path / "run.wbs"
    recorder = Recorder(path, header())
    recorder.flush()  # its process is there
    recorder.capture([Captured(TensorKey(0, 1, "1", 0, "resid_post", 4), "F32", (1,), bytes(4))])
    time.sleep(5 * FLUSH_AFTER_S)
    with Session.open(path) as session:
        assert session.tensors(1) == []
    recorder.close()
    with Session.open(path) as session:
        assert len(session.tensors(1)) == 1


# -- without the engine --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "run.wbs"
    asked = ("--capture", "attn:0,2-3", "--capture", "logits")
    ran = command("record", "--prompt", "def f(x):", "--max-tokens", 8, *asked, "-o", path)
    assert ran.code == 0, ran.err
    return path


async def test_a_recording_shows_its_captured_attention_unmarked(recording: Path) -> None:
    async with workbench_on(recording) as (app, pilot):
        app.select(Selection(request="1", position=9, layer=2, head=1))
        await press(pilot, "3")
        shown = view_text(app)
        assert "captured in the run" in shown
        assert "≈" not in shown
        assert "layer 2 head 1" in shown
        (stored,) = [
            row for row in app.scene.record.session.tensors(5) if (row.key.layer, row.key.start) == (2, 8)
        ]
        weights = array(app.scene.record.session, stored)[1]
        assert f"sink {weights[0]:.2f}" in shown
        assert f"{weights.max():.4f}" in shown
        app.select(Selection(request="1", position=9, layer=1, head=1))
        await settle(pilot)
        assert "not captured" in view_text(app)
        app.select(Selection(request="1", position=3, layer=2, head=1))
        await settle(pilot)
        assert "L loads the model" in view_text(app), "rows of the prompt choose nothing and are not stored"


async def test_a_recording_answers_what_if_from_its_captured_logits(recording: Path) -> None:
    async with workbench_on(recording) as (app, pilot):
        app.select(Selection(request="1", position=9))
        await press(pilot, "2", "w", "right")
        assert "from the logits captured in the run" in view_text(app)


async def test_a_damaged_tensor_is_as_good_as_none(recording: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(recording, tmp_path / "damaged.wbs"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE tensors SET data = 'x'")
        connection.commit()
    async with workbench_on(path) as (app, pilot):
        app.select(Selection(request="1", position=9, layer=2))
        await press(pilot, "3")
        assert "L loads the model" in view_text(app)
        await press(pilot, "2", "w", "right")
        assert "there is no engine to ask" in view_text(app)
