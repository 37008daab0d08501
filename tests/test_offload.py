"""Blocks in host files: what comes back is equal to the bit, and what does not come back is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine import events as ev
from engine.engine import Engine
from engine.executor import TorchExecutor
from engine.kv.pool import KVPool
from engine.load import limits_of
from engine.params import EngineOptions
from engine.plugs import Plugs
from engine.state import State
from plugins.loading import load_plugins, plugs_of
from plugins.offload import DamagedFileError, HostFiles, OffloadOptions
from plugins.quantization.kv_pool import QuantizedKVPool
from sessions.reader import Session
from tests.bundled import decoder, greedy
from tests.commands import run

PROMPTS = [[300 + 37 * i + j * (i + 3) for j in range(24)] for i in range(4)]


def offloading_engine(folder: Path, make_pool: Callable[..., KVPool] = KVPool, blocks: int = 64) -> Engine:
    """An engine on the bundled model with room for one prompt and a half."""
    plugs = plugs_of(load_plugins([f"offload=blocks:{blocks},folder:{folder}"])) if blocks else Plugs()
    options = EngineOptions(dtype="float32", block_size=4)
    pool = make_pool(decoder().config, 12, 4, torch.float32)
    executor = TorchExecutor(decoder(), pool, options.seed, plugs=plugs)
    return Engine(executor, limits_of(decoder().config), 12, options, plugs=plugs)


def outputs(engine: Engine, order: list[int]) -> list[list[int]]:
    found = []
    for index in order:
        (id_,) = engine.submit(greedy(PROMPTS[index], 6))
        engine.run()
        found.append(list(engine.tokens.tokens_of(id_)))
    return found


def held(engine: Engine, request: str, blocks: int) -> list[torch.Tensor]:
    """What the pool holds of the first blocks of a request."""
    executor = engine.executor
    assert isinstance(executor, TorchExecutor)
    table = engine.state.requests[request].table[:blocks]
    slots = [slot for block in table for slot in range(block * 4, block * 4 + 4)]
    return [each[slots].clone() for each in executor.pool.held]


def quantized(*given: object) -> KVPool:
    return QuantizedKVPool(*given, 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("make_pool", [KVPool, quantized], ids=["float32", "4 bits"])
def test_what_comes_back_is_equal_to_the_bit(make_pool: Callable[..., KVPool], tmp_path: Path) -> None:
    engine = offloading_engine(tmp_path, make_pool)
    engine.submit(greedy(PROMPTS[0], 6))
    engine.run(1)
    before = held(engine, "1", 5)
    engine.run()
    outputs(engine, [1, 2])
    engine.submit(greedy(PROMPTS[0], 6))
    step = engine.step()
    assert step is not None
    (loaded,) = [event for event in step.plan.events if isinstance(event, ev.Loaded)]
    assert loaded.tokens == 20
    assert all(torch.equal(one, other) for one, other in zip(before, held(engine, "4", 5), strict=True))
    engine.run()
    assert engine.tokens.tokens_of("4") == engine.tokens.tokens_of("1")


def test_output_is_that_without_files(tmp_path: Path) -> None:
    order = [0, 1, 2, 0, 3, 1, 1, 2, 0]
    engine = offloading_engine(tmp_path, blocks=9)
    assert outputs(engine, order) == outputs(offloading_engine(tmp_path, blocks=0), order)
    assert engine.state.totals.loaded_blocks > 0
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) == len(engine.state.offloaded) <= 9


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "why"), [(cut, "is damaged"), (change, "its digest is another one"), (Path.unlink, "is not there")]
)
def test_a_spoiled_file_is_said_and_computed(spoil: Callable[[Path], None], why: str, tmp_path: Path) -> None:
    engine = offloading_engine(tmp_path)
    first = outputs(engine, [0, 1, 2])
    (folder,) = tmp_path.iterdir()
    for path in folder.iterdir():
        spoil(path)
    engine.submit(greedy(PROMPTS[0], 6))
    step = engine.step()
    assert step is not None
    lost = [event for event in step.results if isinstance(event, ev.OffloadLost)]
    assert len(lost) == 5
    assert all(event.request == "4" and why in event.why for event in lost)
    engine.run()
    assert list(engine.tokens.tokens_of("4")) == first[0]


def test_a_folder_that_cannot_be_written_loses_blocks_and_nothing_else(tmp_path: Path) -> None:
    engine = offloading_engine(tmp_path / "nowhere")
    order = [0, 1, 2, 0]
    assert outputs(engine, order) == outputs(offloading_engine(tmp_path, blocks=0), order)
    assert not engine.state.offloaded
    assert engine.state.totals.loaded_blocks == 0


def test_files_keep_what_was_there_and_are_gone_with_their_keeper(tmp_path: Path) -> None:
    files = HostFiles(OffloadOptions(folder=str(tmp_path)))
    tensors = [torch.randn(4, 2, 3), torch.arange(8, dtype=torch.uint8).view(4, 2), torch.randn(4).bfloat16()]
    kept = [tensor.clone() for tensor in tensors]
    files.keep_block(7, tensors)
    for tensor in tensors:
        tensor.zero_()
    assert all(torch.equal(one, other) for one, other in zip(files.give_block(7), kept, strict=True))
    files.forget_block(7)
    with pytest.raises(DamagedFileError, match="is not there"):
        files.give_block(7)
    files.forget_block(7)
    del files
    assert not list(tmp_path.iterdir())


def test_a_recorded_run_replays(tmp_path: Path) -> None:
    path, workload = tmp_path / "run.wbs", tmp_path / "work.jsonl"
    texts = [
        "import os, sys, json, re\\n" + "x = 1\\n" * 6,
        "class A:\\n    def f(self):\\n        return 3\\n" * 2,
    ]
    lines = [f'{{"prompt": "{text}", "max_tokens": 6, "arrival_step": {at * 8}}}' for at, text in
             enumerate([*texts, texts[0], texts[1]])]  # fmt: skip
    workload.write_text("\n".join(lines))
    ran = run(
        "record", "--workload", workload, "--block-size", 4, "--kv-blocks", 13, "--plugin", "offload", "-o", path
    )
    assert ran.code == 0, ran.err
    with Session.open(path) as session:
        assert session.state_at(session.last_step()).totals.loaded_blocks > 0
    assert run("replay", path).code == 0
    assert "whole cache" not in run("sessions", "show", path).out


def test_a_redacted_run_folds_to_the_same_blocks(tmp_path: Path) -> None:
    """With drops and host files; hashes, which texts could be tried against, are numbers."""
    path, workload = tmp_path / "run.wbs", tmp_path / "work.jsonl"
    texts = ["import os, sys, json, re, abc, ast, csv", "class A: def f(self): return 3 + self.b * self.c"]
    lines = [f'{{"prompt": "{text}", "max_tokens": 8, "arrival_step": {at * 10}}}' for at, text in
             enumerate([*texts, texts[0], texts[1]])]  # fmt: skip
    workload.write_text("\n".join(lines))
    ran = run("record", "--workload", workload, "--block-size", 4, "--kv-blocks", 6, "--plugin", "offload",
              "--plugin", "sinks=window:16,sinks:4", "-o", path)  # fmt: skip
    assert ran.code == 0, ran.err
    copy = tmp_path / "copy.jsonl"
    assert run("export", path, "--to", "jsonl", "--redact", "-o", copy).code == 0
    with Session.open(path) as session:
        state, header = session.state_at(session.last_step()), session.header
    assert state.totals.dropped_tokens
    assert state.totals.offloaded_blocks
    folded = State.at_start(header.num_blocks, header.options)
    events = [ev.decode(line) for line in copy.read_bytes().splitlines()[1:]]
    folded.apply_all(events)
    assert folded.blocks.fill == state.blocks.fill
    assert folded.blocks.ref_count == state.blocks.ref_count
    assert len(folded.offloaded) == len(state.offloaded)
    hashes = {hash_ for event in events if isinstance(event, ev.Offloaded) for hash_ in event.hashes}
    assert hashes.isdisjoint(state.offloaded)
