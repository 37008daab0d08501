"""Runs a command line and turns whatever happens into an exit code and, at most, one line on stderr."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import typer
from typer.core import TyperGroup

from workbench.cli.console import say
from workbench.cli.errors import BAD_INPUT, DONE, INTERRUPTED, is_bad_input, one_line

OPTIONS_OF_THE_GROUP = ("--help", "--version")


def run_command(app: typer.Typer, arguments: Sequence[str], default: str) -> int:
    """Run the command that `arguments` name, else the command `default`; the exit code."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    try:
        code = group.main(
            with_default(arguments, group.commands, default), prog_name=app.info.name, standalone_mode=False
        )
    except (KeyboardInterrupt, SystemExit):  # what typer makes of a reader that has closed the pipe is an exit
        return INTERRUPTED
    except typer.TyperException as error:
        say(_usage(error))
        return BAD_INPUT
    except Exception as error:
        if not is_bad_input(error):
            raise
        say(one_line(error))
        return BAD_INPUT
    return code if isinstance(code, int) else DONE


def with_default(arguments: Sequence[str], commands: Collection[str], default: str) -> list[str]:
    """`arguments`, with the name of the default command in front where no command is named."""
    first = arguments[0] if arguments else ""
    if first in commands or first in OPTIONS_OF_THE_GROUP:
        return list(arguments)
    return [default, *arguments]


def _usage(error: typer.TyperException) -> str:
    message = " ".join(error.format_message().split()).replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "workbench"
    return f"{message[:1].lower()}{message[1:].rstrip('.')}: see `{command} --help`"
