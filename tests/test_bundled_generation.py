"""The engine's greedy output on the bundled model is that of transformers' `generate`, token for token."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer

from engine.model.reference import Reference, load_reference
from tests.bundled import FOLDER, bundled_engine, greedy, run_all

PROMPTS = [
    "import os\n",
    "def fibonacci(n):\n    if n < 2:\n        return n\n",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
    "for i in range(10):\n    print(",
]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return load_reference(FOLDER, torch.float32)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_128_greedy_tokens_are_those_of_generate(reference: Reference, prompt: str) -> None:
    ids = Tokenizer.from_file(str(FOLDER / "tokenizer.json")).encode(prompt).ids
    expected = reference.generate([ids], 128)[0]
    found = run_all(bundled_engine(16, block_size=16), [greedy(ids, 128)])
    assert found.outputs == {"1": expected}
