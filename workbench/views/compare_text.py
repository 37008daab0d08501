"""What the Compare view says in sentences, on the screen and without one."""

from __future__ import annotations

from collections.abc import Sequence

from engine.sanitise import display_text
from sessions.diff_result import StageSearch
from sessions.diff_words import first_token, number, pair_summary, rebuilt, searched
from workbench import astext
from workbench.views.compare_data import Comparison
from workbench.views.compare_stages import LayerRows, StageRows
from workbench.views.compare_table import AlignedTokens
from workbench.widgets.glyphs import Glyphs
from workbench.widgets.spans import Line, Span

OVER_TOP = "~ over the recorded top 20, all other tokens together: a lower bound"


def facts_of(found: Comparison) -> list[Line]:
    """Who is compared with whom, where they part, and how far apart they are up to there."""
    return [_names(found), _parting(found), _distance(found)]


def _names(found: Comparison) -> Line:
    one, other = Span(f"request {found.one}", "strong"), Span(f"request {found.other}", "strong")
    if found.same_session:
        return [Span("A ", "dim"), one, Span("  B ", "dim"), other, Span(f"  {_kinship(found)}", "dim")]
    return [
        Span(f"A {found.a.session.path.name} ", "dim"), one, Span(f" {_kind(found, left=True)}", "dim"),
        Span(f"  B {found.b.session.path.name} ", "dim"), other, Span(f" {_kind(found, left=False)}", "dim"),
    ]  # fmt: skip


def _kinship(found: Comparison) -> str:
    one = found.a.session.request(found.one, found.a.branch)
    other = found.b.session.request(found.other, found.b.branch)
    if one.parent == found.other:
        return f"A is a fork of B at position {one.at_position}"
    if other.parent == found.one:
        return f"B is a fork of A at position {other.at_position}"
    return "of this session"


def _kind(found: Comparison, *, left: bool) -> str:
    header = (found.a if left else found.b).session.header
    plugins = f" with {display_text(', '.join(header.options.plugins))}" if header.options.plugins else ""
    return f"{header.model_name} {header.dtype}{plugins}"


def _parting(found: Comparison) -> Line:
    if found.first is None:
        return Span(f"the same {len(found):,} tokens: {len(found.comparable):,} of them chosen by both", "good")
    return Span(first_token(found.first), "warn" if found.first.near_tie else "strong")


def _distance(found: Comparison) -> Line:
    pair = found.pair
    if not len(found.comparable):
        return Span("no position was chosen by both from the same tokens", "dim")
    if not pair.positions:
        return Span(
            "comparing the distributions …" if not found.complete else "no candidates were recorded", "dim"
        )
    worst = pair.largest_kl
    kl = "" if worst is None else f"; largest KL {number(worst.kl)} at {worst.position}"
    more = "" if found.complete else " so far"
    return Span(f"{pair_summary(pair)}{kl}{more}", "dim")


def search_lines(search: StageSearch) -> list[Line]:
    """What the search found."""
    lines: list[Line] = [Span(searched(search), "strong")]
    lines += [Span(said, "dim") for said in (rebuilt(search.a, "A"), rebuilt(search.b, "B")) if said]
    return lines


def compare_text(
    found: Comparison | str, search: StageSearch | None, step: int, glyphs: Glyphs, width: int
) -> str:
    """The whole view as plain text."""
    if isinstance(found, str):
        return "\n".join(astext.paragraphs([found], width))
    lines = [astext.heading("compare", width), *astext.paragraphs(facts_of(found), width)]
    lines += [astext.heading("side by side", width), *_around(found, step, glyphs, width)]
    if search is not None:
        lines += [astext.heading("first differing stage", width), *astext.paragraphs(search_lines(search), width)]
        if search.divergence is not None:
            lines += astext.table(LayerRows(search.divergence, glyphs), width)
            lines += astext.table(StageRows(search.divergence, glyphs), width)
    return "\n".join(lines)


def _around(found: Comparison, step: int, glyphs: Glyphs, width: int) -> Sequence[str]:
    return [*astext.table(AlignedTokens(found, step, glyphs), width), OVER_TOP]


__all__ = ["OVER_TOP", "compare_text", "facts_of", "search_lines"]
