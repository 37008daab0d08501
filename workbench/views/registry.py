"""Which views there are, in the order of their tabs."""

from __future__ import annotations

from workbench.view import View
from workbench.views.attention import AttentionView
from workbench.views.blocks import BlocksView
from workbench.views.events import EventsView
from workbench.views.overview import OverviewView
from workbench.views.radix import RadixView
from workbench.views.scheduler import SchedulerView
from workbench.views.tokens import TokensView

VIEWS: tuple[type[View], ...] = (
    OverviewView,
    TokensView,
    AttentionView,
    BlocksView,
    RadixView,
    SchedulerView,
    EventsView,
)

__all__ = ["VIEWS"]
