"""How fast a reader opens a session and finds any step of it, and what memory that takes.

    python -m benchmarks.looking_back SESSION

A step is found when everything the screen needs of it is there: the state after it and the one before, its
events and what they changed, its row, and the rows of the requests that stand first. Run in a process of its
own, whose memory is then that of the reader.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.million import Size, generate
from workbench.clock import Cursor
from workbench.moment import moment_at
from workbench.record import Record

BLOCKS: Final = 100_000
SIZES: Final = (10_000, 100_000, 1_000_000)
QUICK_SIZES: Final = (1_000, 10_000)
MOVES: Final = 200
ROWS: Final = 40
PAGE_BYTES: Final = 4096
HEADER: Final = (
    f"{'steps':>9} {'file':>9} {'requests':>9} {'open':>7}"
    f" {'random':>15} {'forward':>15} {'backward':>15} {'memory':>8}\n"
    f"{'':>9} {'MB':>9} {'':>9} {'ms':>7} {'median, 99 % ms':>15} {'':>15} {'':>15} {'MB':>8}"
)


class Times(msgspec.Struct, frozen=True):
    """Milliseconds of many moves."""

    median: float
    p99: float
    most: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Times:
        found = sorted(each * 1e3 for each in seconds)
        return cls(statistics.median(found), found[int(len(found) * 0.99)], found[-1])

    def __str__(self) -> str:
        return f"{self.median:.1f}, {self.p99:.1f}"


class Found(msgspec.Struct, frozen=True):
    """What one session took. `memory_mb` is what the process holds after all moves, all of it counted."""

    steps: int
    file_mb: float
    requests: int
    open_ms: float
    random: Times
    forward: Times
    backward: Times
    memory_mb: float

    def __str__(self) -> str:
        return (
            f"{self.steps:9,} {self.file_mb:9,.1f} {self.requests:9,} {self.open_ms:7.1f}"
            f" {self.random!s:>15} {self.forward!s:>15} {self.backward!s:>15} {self.memory_mb:8.0f}"
        )


def compare(quick: bool) -> Iterator[Found]:
    """Generate a session of each size, and look back in it."""
    for steps in QUICK_SIZES if quick else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "long.wbs"
            print(f"generating {steps:,} steps", file=sys.stderr, flush=True)
            generate(path, Size(steps, BLOCKS))
            command = (sys.executable, "-m", "benchmarks.looking_back", str(path))
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            yield msgspec.json.decode(done.stdout, type=Found)


def look_back(path: Path) -> Found:
    """Open a session and go here and there in it."""
    begin = time.perf_counter()
    with closing(Record.open(path)) as record:
        _go(record, record.last_step)
        opened = time.perf_counter() - begin
        rng, middle = random.Random(1), record.last_step // 2
        anywhere = [_go(record, rng.randint(1, record.last_step)) for _ in range(MOVES)]
        forward = [_go(record, middle + step) for step in range(MOVES)]
        backward = [_go(record, middle + MOVES - step) for step in range(2 * MOVES)]
        return Found(
            record.last_step, path.stat().st_size / 1e6, len(record.requests()), opened * 1e3,
            Times.of(anywhere), Times.of(forward), Times.of(backward), _memory_mb(),
        )  # fmt: skip


def _go(record: Record, step: int) -> float:
    """Seconds until everything about a step is there."""
    begin = time.perf_counter()
    moment = moment_at(record, Cursor(record.branch, step, live=False))
    assert moment.state.step == step
    assert len(moment.requests[:ROWS]) <= ROWS
    return time.perf_counter() - begin


def _memory_mb() -> float:
    """Resident memory of this process, where the machine tells."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * PAGE_BYTES / 1e6 if statm.exists() else 0.0


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(look_back(Path(sys.argv[1]))).decode())
