"""A plugin that cannot be imported."""

raise ZeroDivisionError("no such luck")
