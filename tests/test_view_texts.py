"""The headless twins of Blocks, Radix and Scheduler keep to their width, whatever the tokens' texts are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.desks import desk_on
from tests.recorded import record_demo
from tests.widget_gallery import NASTY
from workbench.record import Record
from workbench.view import View
from workbench.views.blocks import BlocksView
from workbench.views.radix import RadixView
from workbench.views.scheduler import SchedulerView
from workbench.widgets.cells import cell_len


@pytest.mark.parametrize("kind", [BlocksView, RadixView, SchedulerView])
def test_hostile_texts_keep_to_the_width(
    tmp_path: Path, kind: type[View], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_demo(tmp_path / "run.wbs")
    record = Record.open(tmp_path / "run.wbs")
    monkeypatch.setattr(type(record.session), "token_text", lambda _self, token: NASTY[token % len(NASTY)])
    desk = desk_on(record)
    view = kind()
    for step in range(0, record.last_step + 1, 3):
        desk.seek(step)
        for width in (40, 80, 120):
            text = view.text(desk.scene, width)
            assert all(cell_len(line) <= width for line in text.splitlines())
            assert text.replace("\n", "").isprintable()
