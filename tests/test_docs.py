"""The documents tell the truth: links lead somewhere, and the code in them runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.commands import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    missing = [to for to in targets if "://" not in to and not (document.parent / to).exists()]
    assert not missing


def test_the_example_in_the_readme_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example is not None
    monkeypatch.chdir(ROOT)
    exec(example[1], {})
    assert capsys.readouterr().out.startswith("def f(")


def test_modules_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = re.findall(r"`((?:engine|sessions|workbench|tests)/[\w/]+\.py)`", text)
    assert names
    assert [name for name in names if not (ROOT / name).is_file()] == []
