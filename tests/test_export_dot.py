"""The radix tree as DOT is the tree of the step, and no text can break out of a label."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kv.radix import ROOT
from sessions.errors import SessionError
from sessions.export import ExportOptions, export_session
from sessions.export.dot import label, quoted
from sessions.reader import Session
from tests.exported import HOSTILE, record_spiced
from tests.recorded import record_demo

GRAPHVIZ = shutil.which("dot")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dot") / "demo.wbs"
    record_demo(path)
    return path


def unquoted(text: str) -> str:
    """What Graphviz reads in a string: a reader of its own, for comparison."""
    inside = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', text, re.DOTALL)
    assert inside is not None, text
    plain = re.sub(r"\\(.)", lambda found: {"l": "\n"}.get(found[1], found[1]), inside[1], flags=re.DOTALL)
    return plain.replace("&amp;", "&")


def test_nodes_and_edges_are_those_of_the_tree_at_every_step(demo, tmp_path) -> None:
    with Session.open(demo) as session:
        for step in range(0, session.last_step() + 1, 5):
            export_session(demo, "dot", tmp_path / f"{step}.dot", ExportOptions(step=step))
            text = (tmp_path / f"{step}.dot").read_text()
            state = session.state_at(step)
            nodes = {number: node for number, node in state.tree.nodes.items() if number != ROOT}
            assert {int(n) for n in re.findall(r"^  n(\d+) \[", text, re.MULTILINE)} - {ROOT} == set(nodes)
            edges = re.findall(r"^  n(\d+) -> n(\d+) \[", text, re.MULTILINE)
            assert {(int(a), int(b)) for a, b in edges} == {(node.parent, n) for n, node in nodes.items()}
            for number, node in nodes.items():
                facts = re.search(rf"^  n{number} \[label=(\".*?\"),", text, re.MULTILINE)
                assert facts is not None
                assert f"node {number}: {len(node.blocks) * 4} tokens" in unquoted(facts[1])
                assert f"hits {state.blocks.hits[node.blocks[0]]}," in unquoted(facts[1])


def test_edges_carry_the_tokens_that_their_blocks_hold(demo, tmp_path) -> None:
    export_session(demo, "dot", tmp_path / "a.dot", ExportOptions(step=8))
    text = (tmp_path / "a.dot").read_text()
    with Session.open(demo) as session:
        first = session.state_at(8).tree.root.children
        prompts = {
            "".join(map(session.token_text, session.prompt_ids(row.request))) for row in session.requests()
        }
    for node in first.values():
        edge = re.search(rf"n0 -> n{node} \[label=(\".*?\")\];", text)
        assert edge is not None
        lines = unquoted(edge[1]).splitlines()
        shown = "".join(line for line in lines if not line.startswith("… "))
        assert any(prompt.startswith(shown[:12]) for prompt in prompts)


awkward = st.text(
    alphabet=st.one_of(st.sampled_from('\\"&;lnGampt<> '), st.characters(exclude_categories=["Cs"]))
)


@given(awkward, st.lists(awkward, max_size=3))
def test_any_text_comes_back_from_a_string(text: str, lines: list[str]) -> None:
    assert unquoted(quoted(text)) == text
    assert unquoted(label(lines)) == "".join(f"{line}\n" for line in lines)


def test_a_step_that_is_not_there_is_refused(demo, tmp_path) -> None:
    with pytest.raises(SessionError, match="--step is 9999: the session has steps 1 to"):
        export_session(demo, "dot", tmp_path / "a.dot", ExportOptions(step=9999))


@pytest.mark.skipif(GRAPHVIZ is None, reason="there is no dot on PATH: apt install graphviz")
def test_graphviz_draws_it_with_the_texts_as_they_are(tmp_path) -> None:
    record_spiced(tmp_path / "spiced.wbs")
    export_session(tmp_path / "spiced.wbs", "dot", tmp_path / "a.dot")
    assert GRAPHVIZ is not None
    done = subprocess.run([GRAPHVIZ, "-Tsvg", tmp_path / "a.dot"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    nodes = len(re.findall(r'class="node"', done.stdout))
    with Session.open(tmp_path / "spiced.wbs") as session:
        assert nodes == len(session.state_at(session.last_step()).tree.nodes)
    shown = re.sub(r"<[^>]*>", "", done.stdout)
    assert "<script" not in done.stdout
    assert any(text in shown for text in ("&lt;/script&gt;", "&lt;img"))
    assert HOSTILE
