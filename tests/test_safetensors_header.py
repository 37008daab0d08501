"""A weight file is what its header says, or it is refused before any of it is loaded."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from engine.model.errors import ModelError
from engine.model.safetensors_header import TensorInfo, read_header

A = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
B = {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}


def write(path: Path, header: Any, data_bytes: int = 32, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + bytes(data_bytes))
    return path


def test_a_good_header_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x", {"__metadata__": {"format": "pt"}, "b": B, "a": A})
    assert read_header(path) == {"a": TensorInfo("F32", (2, 3), 0, 24), "b": TensorInfo("BF16", (4,), 24, 32)}


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    tensors = {"w": torch.zeros(3, 5), "none": torch.zeros(0, 4), "one": torch.tensor(1.0, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "x")
    assert {name: info.shape for name, info in read_header(tmp_path / "x").items()} == {
        "w": (3, 5), "none": (0, 4), "one": (),
    }  # fmt: skip


HEADERS: dict[str, tuple[Any, str]] = {
    "not JSON": (b"{", "not valid JSON"),
    "not UTF-8": (b'{"\xff": 1}', "not valid JSON"),
    "a list": ([], "a JSON list"),
    "deep": (b"[" * 100_000, "not valid JSON"),
    "a name twice": (b'{"a": 1, "a": 2}', "a name occurs twice"),
    "entry of another kind": ({"a": 5}, "described by 5"),
    "dtype unknown": ({"a": A | {"dtype": "F3"}, "b": B}, "tensor 'a': dtype 'F3' is not known"),
    "dtype missing": ({"a": {"shape": [1], "data_offsets": [0, 4]}}, "dtype None is not known"),
    "dtype of another size": ({"a": A | {"dtype": "F16"}, "b": B}, r"F16 \[2, 3\] needs 12 bytes"),
    "shape of another size": ({"a": A | {"shape": [2, 4]}, "b": B}, "needs 32 bytes, its offsets span 24"),
    "negative shape": ({"a": A | {"shape": [-2, -3]}, "b": B}, "is not a list of sizes"),
    "shape that overflows": ({"a": A | {"shape": [2**62, 8]}, "b": B}, "its offsets span 24"),
    "fractional shape": ({"a": A | {"shape": [1.5, 4]}, "b": B}, "is not a list of sizes"),
    "true in a shape": ({"a": A | {"shape": [True, 6]}, "b": B}, "is not a list of sizes"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2, 3]}}, "data_offsets None"),
    "three offsets": ({"a": A | {"data_offsets": [0, 24, 48]}}, "are not a begin and an end"),
    "offsets backwards": ({"a": A | {"data_offsets": [24, 0]}, "b": B}, "needs 24 bytes, its offsets span -24"),
    "negative offset": ({"a": A | {"data_offsets": [-24, 0]}, "b": B}, "are not a begin and an end"),
    "overlap": ({"a": A, "b": B | {"data_offsets": [20, 28]}}, "'b' at byte 20 overlaps the one before it"),
    "the same place twice": ({"a": A, "b": A}, "overlaps"),
    "hole": ({"a": A, "b": B | {"data_offsets": [26, 34]}}, "'b' at byte 26 leaves a hole"),
    "hole at the front": ({"b": B}, "leaves a hole"),
    "bytes of no tensor": ({"a": A}, "take 24 bytes, the file holds 32: it has bytes of no tensor"),
    "past the end": ({"a": A, "b": B | {"shape": [8], "data_offsets": [24, 40]}}, "holds 32: it is truncated"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_lies_is_refused(tmp_path: Path, name: str) -> None:
    header, message = HEADERS[name]
    with pytest.raises(ModelError, match=message) as error:
        read_header(write(tmp_path / "x", header))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [2**63, 2**40, 10_000, 200])
def test_a_header_length_beyond_the_file_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(ModelError, match=f"claims {length} bytes"):
        read_header(write(tmp_path / "x", {"a": A, "b": B}, length=length))


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_file_too_short_for_a_length_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "x").write_bytes(bytes(size))
    with pytest.raises(ModelError, match="too short"):
        read_header(tmp_path / "x")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_header(tmp_path / "x")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("files") / "x"
    save_file({"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}, path)
    return path, path.read_bytes()


@given(cut=st.integers(0, 200))
def test_a_truncated_file_is_refused(good: tuple[Path, bytes], cut: int) -> None:
    path, content = good
    damaged = path.with_name("cut")
    damaged.write_bytes(content[: min(cut, len(content) - 1)])
    with pytest.raises(ModelError):
        read_header(damaged)


@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_what_the_library_refuses_is_refused(good: tuple[Path, bytes], at: int, value: int) -> None:
    """One byte of length or header is changed; whatever we accept, the library loads."""
    path, content = good
    end = 8 + int.from_bytes(content[:8], "little")
    at %= end
    damaged = path.with_name("flipped")
    damaged.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
    try:
        tensors = read_header(damaged)
    except ModelError:
        return
    loaded = load_file(damaged)
    assert {name: info.shape for name, info in tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in loaded.items()
    }
