"""The demo: what the workbench opens on when it is given no model.

`demo.jsonl` and these options belong together. In about 80 steps: prompts that share a prefix, a radix node
that splits, a prompt prefilled in chunks, copy on write between two samples, waiting for blocks, eviction,
and preemption with resumption. Lengths are fixed, so that this holds whatever the model says.
"""

from __future__ import annotations

from pathlib import Path

from engine.params import EngineOptions, SamplingParams
from engine.protocol import RequestText
from engine.workload import parse_workload

WORKLOAD = Path(__file__).parent / "demo.jsonl"
OPTIONS = EngineOptions(block_size=16, kv_blocks=48, token_budget=128)


def demo_requests() -> list[RequestText]:
    with WORKLOAD.open("rb") as lines:
        return parse_workload(lines, SamplingParams())
