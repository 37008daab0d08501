"""For the tests of plugins: what one provides, checked as it is when it is loaded."""

from __future__ import annotations

from typing import Any

from plugins.finding import Found
from plugins.loading import configure


def provided(plugin: Any, arguments: str = "") -> list[Any]:
    """What `plugin` provides with these options, in its order. Raises PluginError, as loading it would."""
    made = configure(Found(plugin.name, "test"), plugin, arguments).capabilities
    return list(dict.fromkeys(each.thing for each in made))
