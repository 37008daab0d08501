"""The Attention view as plain text, and what it says of how far its numbers can be trusted."""

from __future__ import annotations

from workbench import astext
from workbench.bench import Scene
from workbench.views.attention_data import Heads
from workbench.views.attention_looking import Looking
from workbench.views.attention_models import StrongestKeys
from workbench.views.provenance import recomputed
from workbench.views.subject import subject_of
from workbench.views.tokens_whatif import worst_difference

KEYS = 20
NUMBERS = ("entropy", "sink", "distance", "previous", "induction")


def heads_per_kv(scene: Scene) -> int:
    """Query heads that share one KV head."""
    shape = scene.record.about.shape
    return max(1, shape.heads // max(1, shape.kv_heads))


def compared(scene: Scene, heads: Heads) -> str:
    """How far the inspected row's logits are from those that were recorded."""
    if heads.captured:
        return "as captured in the run"
    seen = heads.inspection
    recorded = scene.record.details(seen.request, seen.position + 1)
    return recomputed(None if recorded is None else worst_difference(seen, recorded), scene.glyphs)


def check_text(scene: Scene, heads: Heads) -> str:
    """How well the patterns explain what attention gave, and whether positions were pooled."""
    if heads.captured:
        return "as captured in the run: the row itself"
    seen = heads.inspection
    pooled = f"  ~ pooled {scene.glyphs.times}{seen.pool}" if seen.pool > 1 else ""
    return f"{scene.glyphs.approximate} pattern·V within {seen.check:.1g} of attn_out{pooled}"


def attention_text(scene: Scene, looking: Looking, width: int) -> str:
    """The numbers of every head, and what the selected one attended to most."""
    subject = subject_of(scene)
    if isinstance(subject, str):
        return "\n".join(astext.paragraphs([subject], width))
    title = astext.heading(f"request {subject.request} row {subject.row}", width)
    found = looking.at(scene, subject)
    if isinstance(found, str):
        return "\n".join([title, *astext.paragraphs(found.splitlines(), width)])
    heads = Heads(found, scene.record.token_ids(subject.request)[: found.position + 1])
    lines = [title, compared(scene, heads), check_text(scene, heads), *_table(heads)]
    layer = min(scene.selection.layer, found.layers - 1)
    head = min(scene.selection.head, found.heads - 1)
    lines.append(astext.heading(f"layer {layer} head {head}", width))
    keys = StrongestKeys(heads, heads.weights(layer, head), scene.record.token_text)
    return "\n".join([line[:width] for line in lines] + astext.table(keys, width, KEYS))


def _table(heads: Heads) -> list[str]:
    names = [name for name in NUMBERS if heads.exact or name not in ("previous", "induction")]
    columns = {name: heads.measure(name) for name in names}
    lines = ["layer head" + "".join(f"{name:>11}" for name in names)]
    for layer in range(heads.inspection.layers):
        for head in range(heads.inspection.heads):
            numbers = "".join(f"{columns[name][layer, head]:11.3f}" for name in names)
            lines.append(f"{layer:5} {head:4}{numbers}")
    return lines


__all__ = ["attention_text", "check_text", "compared", "heads_per_kv"]
