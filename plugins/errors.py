"""What is wrong with a plugin, or with what was asked of it."""

from __future__ import annotations

from engine.option_error import OptionError


class PluginError(OptionError):
    """One line that names the plugin: it cannot be found, loaded, or used as asked."""
