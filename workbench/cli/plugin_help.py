"""`--help` of the commands that take `--plugin`: it ends with the plugins there are and their options."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from typer.core import TyperCommand

from engine.sanitise import display_text


class WithPlugins(TyperCommand):
    """A command whose help lists plugins, which are looked for when somebody asks."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from workbench.cli.plugins import help_lines

        lines = [escape(display_text(f"{name}: {text}")) for name, text in help_lines()]
        self.epilog = "\n\n".join(["Plugins that --plugin takes:", *lines])
        super().format_help(ctx, formatter)


__all__ = ["WithPlugins"]
