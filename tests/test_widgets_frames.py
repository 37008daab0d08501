"""Whole frames of the gallery as text, to be read in a diff. WORKBENCH_WRITE_FRAMES=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.widget_gallery import PAGES, Gallery

FRAMES = Path(__file__).parent / "frames" / "widgets"
NAMES = [page.__name__ for page in PAGES]


async def frame(page: int, glyphs: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GALLERY_PAGE", str(page))
    monkeypatch.setenv("GALLERY_GLYPHS", glyphs)
    async with Gallery().run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        strips = pilot.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips) + "\n"


@pytest.mark.parametrize("glyphs", ["unicode", "ascii"])
@pytest.mark.parametrize("name", NAMES)
async def test_frame(name: str, glyphs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = await frame(NAMES.index(name), glyphs, monkeypatch)
    path = FRAMES / f"{name}-{glyphs}.txt"
    if os.environ.get("WORKBENCH_WRITE_FRAMES"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8")
