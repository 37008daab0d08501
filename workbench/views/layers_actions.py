"""What can be done in the Layers view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine import protocol as pr
from workbench.actions import Action

if TYPE_CHECKING:
    from workbench.views.layers import LayersView


def next_layer(view: LayersView) -> None:
    view.walk(pr.NextLayer(request=view.scene.selection.request))


def finish(view: LayersView) -> None:
    view.walk(pr.FinishForward())


def abandon(view: LayersView) -> None:
    view.walk(pr.Abandon())


def why_not_inside(view: LayersView) -> str | None:
    return None if view.inside is not None else "the engine stands in no forward pass: s steps into the next one"


def why_one_face(view: LayersView) -> str | None:
    return "all of it is on the screen" if view.one_face else None


def why_no_lens(view: LayersView) -> str | None:
    return None if view.has_lens else "there is no lens without a row that was looked at again"


ACTIONS: Sequence[Action[Any]] = (
    Action(
        "layers.next_layer", ("N",), "Run on to the next layer", "Run", next_layer, "next layer", why_not_inside
    ),
    Action(
        "layers.to_stage", ("t",), "Run on to the stage under the cursor", "Run",
        lambda view: view.run_to_stage(), "to stage", why_not_inside,
    ),
    Action(
        "layers.finish", ("f",), "Finish the forward pass and commit the step", "Run", finish, "finish",
        why_not_inside,
    ),
    Action(
        "layers.abandon", ("X",), "Abandon the step", "Run", abandon, "abandon", why_not_inside,
        "It is recorded as failed, its requests wait again, and the next step computes them.",
    ),
    Action(
        "layers.face", ("m",), "Stages, source, lens, or the parts of the logit", "View",
        lambda view: view.turn_face(), "more", why_one_face, "Where there is no room for all of it at once.",
    ),
    Action(
        "layers.token", ("w",), "Take apart the logit of the lens's likeliest token, or of the chosen one",
        "View", lambda view: view.turn_token(), "token", why_no_lens,
    ),
)  # fmt: skip

__all__ = ["ACTIONS"]
