"""What holds for all tests: one thread a process, and none of the user's own folders."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("workbench", deadline=None)  # machines are busy, and nothing is timed
hypothesis.settings.load_profile("workbench")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def own_folders() -> Iterator[None]:
    """State, cache and settings go to a temporary folder, in this process and in those that tests start."""
    with tempfile.TemporaryDirectory(prefix="workbench-tests-") as home, pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HOME"):
            patch.setenv(variable, os.path.join(home, variable.lower()))
        patch.delenv("HF_HUB_CACHE", raising=False)
        yield


@pytest.fixture(autouse=True)
def own_state(own_folders: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test keeps in the user's state, such as bookmarks, is not there for the next one."""
    with tempfile.TemporaryDirectory(prefix="workbench-state-") as state:
        monkeypatch.setenv("XDG_STATE_HOME", state)
        yield


@pytest.fixture(scope="session")
def demo_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, run to its end on the bundled model and recorded."""
    from workbench.cli import demo
    from workbench.cli.folders import DEFAULT_MODEL
    from workbench.cli.order import make_order
    from workbench.cli.record import record

    output = tmp_path_factory.mktemp("demo") / "demo.wbs"
    order, _ = make_order(DEFAULT_MODEL, demo.OPTIONS, demo.demo_requests(), output)
    return record(order).session
