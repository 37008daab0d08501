"""Packed token details: everything comes back, nothing damaged is believed, and they stay small."""

import subprocess
import sys
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.details import Candidates, DetailsError, StageResult, TokenDetails, pack_step, unpack_step
from engine.explain import explain
from engine.params import SamplingParams
from engine.sampling import SamplerRow, choose

EVERY_STAGE = SamplingParams(
    temperature=0.8, top_k=40, top_p=0.9, min_p=0.02, repetition_penalty=1.1, presence_penalty=0.1,
    frequency_penalty=0.1, logit_bias={1: 1.0},
)  # fmt: skip


def step_of(*params: SamplingParams, vocab: int = 4096) -> list[TokenDetails]:
    logits = np.random.default_rng(0).normal(0, 3, (len(params), vocab)).astype(np.float32)
    rows = [SamplerRow(f"{i}.1", chosen, 5, 1, 2**33 + i) for i, chosen in enumerate(params)]
    return explain(logits, rows, choose(logits, rows))


MIXED = step_of(SamplingParams(), SamplingParams(temperature=1.0), EVERY_STAGE)


def test_a_step_comes_back_as_it_was():
    assert unpack_step(pack_step(MIXED)) == MIXED
    assert unpack_step(pack_step([])) == []


floats = st.floats(allow_nan=False)
one_candidate = Candidates(
    array("i", [7]), array("f", [1.5]), (), array("f", [0.25]), array("B", [6]), array("f", [4])
)


@given(
    st.builds(
        TokenDetails,
        request=st.text(max_size=9),
        position=st.integers(0, 2**62),
        token=st.integers(0, 2**31 - 1),
        rank=st.integers(1, 2**31 - 1),
        raw_lse=floats,
        raw_logprob=floats,
        processed_lse=floats,
        processed_logprob=floats,
        entropy=floats,
        varentropy=floats,
        margin=floats,
        draw=st.just(0.0),
        interval=st.tuples(floats, floats),
        logits_hash=st.integers(0, 2**64 - 1),
        stages=st.just((StageResult("top_k", 3, 3, -1.5),)),
        candidates=st.just(one_candidate),
    )
)
def test_any_details_come_back(details):
    assert unpack_step(pack_step([details])) == [details]


def test_the_layout_is_little_endian_and_starts_with_its_version():
    data = pack_step(MIXED)
    assert data[:3] == b"\x01\x03\x00"


@given(st.integers(0, len(pack_step(MIXED)) - 1))
def test_a_shortened_step_is_refused(length):
    with pytest.raises(DetailsError):
        unpack_step(pack_step(MIXED)[:length])


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused(noise):
    for data in (noise, b"\x01" + noise):
        try:
            unpack_step(data)
        except DetailsError:
            continue


def test_another_version_is_named():
    with pytest.raises(DetailsError, match="version 9: this program reads version 2"):
        unpack_step(b"\x09" + pack_step(MIXED)[1:])


@pytest.mark.parametrize(("params", "most"), [
    (SamplingParams(), 360),
    (SamplingParams(temperature=0.8, top_k=40, top_p=0.9), 680),
    (EVERY_STAGE, 1100),
])  # fmt: skip
def test_a_token_takes_few_bytes(params, most):
    assert len(pack_step(step_of(params))) <= most


def test_reading_details_needs_neither_numpy_nor_torch():
    code = "import sys, engine.details; print({'numpy', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
