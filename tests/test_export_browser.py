"""The report in a real browser: the right values appear, keys work, hostile text is only text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.details import FILTERS
from engine.sanitise import display_text
from sessions.export import ExportOptions, export_session
from sessions.reader import Session
from tests.browser import CHROMIUM, WHY_NOT, Page, browser
from tests.commands import run
from tests.exported import attention, record_spiced
from tests.recorded import DEMO_HEADER, engine_on, record_demo, writer_on
from tests.scripted import spec

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    record_spiced(folder / "spiced.wbs")
    record_demo(folder / "demo.wbs")
    for name in ("spiced", "demo"):
        export_session(folder / f"{name}.wbs", "html", folder / f"{name}.html")
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with browser(folder / "profile") as page:
        yield page


@pytest.fixture
def spiced(folder: Path) -> Iterator[Session]:
    with Session.open(folder / "spiced.wbs") as session:
        yield session


def test_a_linked_token_shows_its_candidates_and_its_draw(page, folder, spiced) -> None:
    row = spiced.tokens("2")[3]
    page.open(folder / "spiced.html", f"#request=2&token={row.position}")
    about = spiced.details("2", row.position)
    assert f"request 2 · token {row.position}" in page.text("#where")
    assert f"step {row.chosen_step} of {spiced.last_step()}" in page.text("#where")
    facts = page.text("#choice .facts")
    assert f"rank{row.rank}" in facts.replace(" ", "")
    assert f"{row.raw_logprob:.3f}".replace("-", "−") in facts
    assert page.value("document.querySelectorAll('#choice tbody tr').length") == len(about.candidates)
    heads = page.text("#choice thead")
    assert all(f"→ {stage.kept}" in heads for stage in about.stages if stage.stage in FILTERS)
    chosen = page.text("#choice tr.chosen")
    assert chosen.startswith(f"▶ {row.rank}")
    assert display_text(spiced.token_text(row.token)).strip() in chosen
    removed = sum(bool(code) for code in about.candidates.removed_by)
    assert page.value("document.querySelectorAll('#choice tr.removed').length") == removed > 0
    assert f"u = {row.draw:.4f} falls in [{row.low:.4f}, {row.high:.4f})" in page.text("#choice")
    left = page.value("parseFloat(document.querySelector('.draw .mine').style.left)")
    assert left == pytest.approx(row.low * 100, abs=1e-3)


def test_arrows_walk_through_the_tokens_and_the_step_follows(page, folder, spiced) -> None:
    rows = spiced.tokens("3")
    page.open(folder / "spiced.html", f"#request=3&token={rows[0].position}")
    page.value("document.getElementById('text').focus()")
    for row in rows[1:4]:
        page.press("ArrowRight")
        page.wait_for(f"document.getElementById('choice').textContent.includes('token {row.position}')")
        assert page.value("document.querySelector('[aria-selected=true]').id") == f"t{row.position}"
        assert page.text("#step-says").startswith(f"step {row.chosen_step} of")
    page.press("Home")
    page.wait_for("document.getElementById('choice').textContent.includes('it was given, not chosen')")
    page.press(".")
    page.wait_for("document.querySelector('.request[aria-current] b').textContent === '4'")


def test_tokens_are_shaded_by_how_unlikely_they_were(page, folder, spiced) -> None:
    page.open(folder / "spiced.html", "#request=2&mode=surprise")
    for row in spiced.tokens("2"):
        share = round((1 - math.exp(row.raw_logprob)) * 100)
        shade = page.value(f"document.getElementById('t{row.position}').style.background")
        assert (f"{share}%" in shade) if share else shade == ""


def test_a_step_shows_its_blocks_and_decisions(page, folder) -> None:
    with Session.open(folder / "demo.wbs") as session:
        step = next(step for step in range(1, session.last_step()) if len(session.decisions(step)) > 2)
        page.open(folder / "demo.html", f"#step={step}")
        row, state = session.step_row(step), session.state_at(step)
        kinds = [state.blocks.state(block) for block in range(14)]
        shared = sum(count > 1 for count in state.blocks.ref_count)
        says = page.text("#memory-says")
        assert f"After step {step}: {kinds.count('free')} free, {kinds.count('cached')} cached" in says
        assert f"{kinds.count('owned') - shared} owned, {shared} shared of 14 blocks" in says
        assert f"{row.running} running, {row.waiting} waiting, {row.preempted} preempted" in page.text(
            "#step-says"
        )
        items = page.value("document.querySelectorAll('#decisions li').length")
        assert items == len(session.decisions(step))
        page.press("]")
        page.wait_for(f"document.getElementById('step-says').textContent.startsWith('step {step + 1} of')")


def test_a_block_says_who_holds_it(page, folder) -> None:
    with Session.open(folder / "demo.wbs") as session:
        step = next(each for each in range(session.last_step(), 0, -1) if session.state_at(each).blocks.owned > 3)
        state = session.state_at(step)
    page.open(folder / "demo.html", f"#step={step}")
    page.value("document.getElementById('memory').focus()")
    for block in range(1, 14):
        page.press("ArrowRight")
        holders = [request.id for request in state.requests.values() if block in request.table]
        held = f"held by {', '.join(f'request {name}' for name in holders)}" if holders else "held by nobody"
        page.wait_for(f"document.getElementById('block-says').textContent.startsWith('Block {block}:')")
        says = page.text("#block-says")
        assert sorted(held.split()) == sorted(re.split(r"[;.]", says)[0].split(", ", 1)[1].split()), says


def test_attention_of_the_chosen_head_is_that_of_the_record(page, folder, spiced) -> None:
    row = spiced.tokens("2")[5]
    page.open(folder / "spiced.html", f"#request=2&token={row.position}&layer=1&head=3&mode=attention")
    weights = attention(row.position, 1)[3]
    page.wait_for("document.querySelectorAll('.looked tbody tr').length > 0")
    largest = page.text(".looked tbody tr:first-child")
    assert largest.startswith(str(weights.argmax()))
    strongest = page.value(f"document.getElementById('t{weights.argmax()}').style.background")
    assert "100%" in strongest
    assert page.value("document.querySelectorAll('.head-map').length") == 8


def test_a_page_without_attention_says_how_to_get_it(page, folder) -> None:
    page.open(folder / "demo.html")
    assert "Record with --capture attn" in page.text("#attention-body")


def test_themes_and_a_narrow_window(page, folder) -> None:
    page.open(folder / "spiced.html")
    light = page.value("getComputedStyle(document.body).backgroundColor")
    page.press("t")
    dark = page.value("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.send("Emulation.setDeviceMetricsOverride", width=380, height=800, deviceScaleFactor=1, mobile=False)
    page.wait_for("document.documentElement.scrollWidth <= 380")
    page.send("Emulation.clearDeviceMetricsOverride")


def test_nothing_is_asked_for_and_nothing_goes_wrong(page, folder) -> None:
    page.open(folder / "spiced.html", "#request=1")
    for key in "]}{[mhH+-?t,.":
        page.press(key)
    assert page.problems == []
    assert {address.partition("#")[0] for address in page.requested} == {(folder / "spiced.html").as_uri()}
    assert page.value("document.querySelectorAll('img, iframe, link, object').length") == 0
    assert page.value("document.scripts.length") == 2


def test_what_was_left_out_is_shown(page, folder) -> None:
    export_session(folder / "spiced.wbs", "html", folder / "small.html", ExportOptions(max_mb=0.1, redact=True))
    page.open(folder / "small.html")
    notes = page.text("#left-out")
    assert "redacted" in notes
    assert "larger than --max-mb 0.1" in notes
    assert "secret" not in page.value("document.documentElement.outerHTML")


def test_of_many_requests_those_around_the_selected_one_are_shown(page, tmp_path) -> None:
    writer = writer_on(tmp_path / "many.wbs", DEMO_HEADER)
    engine = engine_on(writer, DEMO_HEADER)
    for number in range(260):
        engine.submit(spec([number % 40, 3], 2))
        engine.step()
    engine.run()
    writer.close()
    export_session(tmp_path / "many.wbs", "html", tmp_path / "many.html")
    page.open(tmp_path / "many.html", "#request=130")
    assert page.text("#gantt-says") == "60 of 260 requests, 100 to 159."
    assert page.value("document.querySelectorAll('.request').length") == 200
    assert page.text(".request[aria-current] b") == "130"
    assert page.text("#requests").startswith("29 requests before")
    assert page.text("#requests").endswith("31 requests after")
    assert page.value("document.getElementById('gantt').clientHeight") < 1_200
    click = "new MouseEvent('click', {clientX: box.left + 200, clientY: box.top + 18 * 5 + 9})"
    gantt = "const g = document.getElementById('gantt'), box = g.getBoundingClientRect();"
    page.value(f"{{{gantt} g.dispatchEvent({click})}}")
    page.wait_for("document.querySelector('.request[aria-current] b').textContent === '105'")


@pytest.fixture(scope="module")
def thinned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with a KV policy, in which a beam search ran beside a plain request."""
    folder = tmp_path_factory.mktemp("thinned")
    prompts = [
        {"prompt": "import os\nimport sys\n\n\ndef read(path):\n"},
        {"prompt": "def add(a, b):\n", "beams": 2},
    ]
    (folder / "load.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    keep = ("--block-size", "4", "--kv-blocks", "64", "--plugin", "sinks=window:8,sinks:2", "--max-tokens", "12")
    run("record", "--workload", str(folder / "load.jsonl"), "-o", str(folder / "run.wbs"), *keep)
    export_session(folder / "run.wbs", "html", folder / "run.html")
    return folder / "run.html"


def test_a_dropped_block_is_held_no_longer(page, thinned) -> None:
    with Session.open(thinned.with_suffix(".wbs")) as session:
        held = {step: len(session.state_at(step).requests["1"].held_blocks) for step in range(1, 12)}
        assert session.state_at(11).requests["1"].dropped
    for step, blocks in held.items():
        page.open(thinned, f"#request=1&step={step}")
        assert f"{blocks} held by request 1;" in page.text("#memory-says")


def test_a_run_with_a_kv_policy_is_marked(page, thinned, folder) -> None:
    page.open(thinned)
    assert "KV policysinks: output may differ" in page.text("#run")
    page.open(folder / "demo.html")
    assert "KV policy" not in page.text("#run")


def test_a_beams_token_is_not_called_the_largest_logit(page, thinned) -> None:
    with Session.open(thinned.with_suffix(".wbs")) as session:
        tokens = session.tokens("2")
    page.open(thinned, f"#request=2&token={tokens[1].position}")
    page.wait_for("document.querySelector('#choice thead') !== null")
    assert "log p" in page.text("#choice thead")
    assert "undefined" not in page.text("#choice")
    assert "best continuations of all beams" in page.text("#choice")
    assert "largest logit after" not in page.text("#choice")
