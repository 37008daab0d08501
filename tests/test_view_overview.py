"""The Overview's table says the same of a request at every moment of its life."""

from __future__ import annotations

from pathlib import Path

from tests.desks import desk_on
from tests.recorded import record_demo
from workbench.record import Record
from workbench.views.request_table import COLUMNS, RequestTable
from workbench.views.request_text import RequestText
from workbench.widgets.spans import plain

HIT = next(at for at, column in enumerate(COLUMNS) if column.title == "hit")


def test_a_hit_is_that_of_the_first_admission_to_the_end(tmp_path: Path) -> None:
    record_demo(tmp_path / "run.wbs")
    record = Record.open(tmp_path / "run.wbs")
    desk = desk_on(record)
    resumed = set()
    for step in range(record.last_step + 1):
        desk.seek(step)
        table = RequestTable(desk.scene)
        for index, row in enumerate(table.requests):
            admitted = row.admitted_step is not None and row.admitted_step <= step
            hit = row.cached_tokens if admitted else 0
            assert plain(table.row(index)[HIT]) == (str(hit) if hit else "–")
            assert RequestText.at(desk.scene, row.request).cached_len == hit
            live = desk.scene.moment.live_request(row.request)
            if live is not None and live.table and live.cached_tokens != hit:
                resumed.add(row.request)
    record.close()
    assert resumed  # a later admission found more, and the table does not flip to it
