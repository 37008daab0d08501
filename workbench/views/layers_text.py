"""The Layers view as plain text."""

from __future__ import annotations

from workbench import astext
from workbench.bench import Scene
from workbench.views.layers_lens import Lens, LensRows, PartRows
from workbench.views.layers_looking import LayerLooking, captured_pass, compared
from workbench.views.layers_pass import Pass, StageRows, halted_pass, row_pass
from workbench.views.layers_source import source_lines, source_title
from workbench.views.subject import subject_of


def layers_text(scene: Scene, looking: LayerLooking, token: int | None, width: int) -> str:
    """The stages of the halted pass, or of the selected row; what each layer would say, and the logit's parts."""
    lines = []
    inside = scene.engine.inside if scene.moment.live else None
    if inside is not None:
        halted = halted_pass(inside, scene.record.about.shape.layers, scene.selection.request)
        lines += [*_pass(halted, width), *_source(halted, scene, width)]
    subject = subject_of(scene)
    if isinstance(subject, str):
        return "\n".join([*lines, *astext.paragraphs([subject], width)])
    found = looking.at(scene, subject, token)
    if isinstance(found, str):
        captured = None if inside is not None else captured_pass(scene, subject)
        lines += _pass(captured, width) if captured is not None else []
        return "\n".join([*lines, *astext.paragraphs(found.splitlines(), width)])
    if inside is None:
        lines += _pass(row_pass(found, compared(scene, found)), width)
    return "\n".join([*lines, *_lens(scene, Lens(found), width)])


def _pass(shown: Pass, width: int) -> list[str]:
    return [astext.heading(f"{shown.title} ({shown.mark})", width), *astext.table(StageRows(shown), width, 2_000)]


def _source(shown: Pass, scene: Scene, width: int) -> list[str]:
    sources = next(iter(shown.sources.values()), ())
    lines = source_lines(sources, scene.glyphs).lines
    return [astext.heading(source_title(sources), width), *astext.paragraphs(lines, width)] if lines else []


def _lens(scene: Scene, lens: Lens, width: int) -> list[str]:
    text, found = scene.record.token_text, lens.found
    return [
        astext.heading(f"logit lens of row {found.position}, '{text(found.token)}'", width),
        *astext.table(LensRows(lens, text), width),
        astext.heading(f"the logit of '{text(found.token)}' by parts", width),
        *astext.table(PartRows(lens), width),
    ]


__all__ = ["layers_text"]
