"""The page: a template, its styles and its scripts, with the data in it and a policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib.resources import files
from typing import Any, Final

from sessions.export.report.packing import script_json

SCRIPTS: Final = ("data", "dom", "state", "text", "choice", "attention", "timeline", "memory", "main")
"""In this order they are one script."""
_SIZE: Final = "@size@"
_SIZE_WIDTH: Final = 16


def page(title: str, data: dict[str, Any]) -> bytes:
    """The whole page. It says how large it is."""
    style, script = _asset("report.css"), _script()
    parts = {
        "policy": _policy(style, script),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": script_json(data),
        "size": _SIZE.ljust(_SIZE_WIDTH),
    }
    made = _filled(_asset("report.html"), parts).encode()
    size = f"{len(made):,} bytes".ljust(_SIZE_WIDTH)
    return made.replace(_SIZE.ljust(_SIZE_WIDTH).encode(), size.encode(), 1)


def _filled(template: str, parts: dict[str, str]) -> str:
    """`template` with each `{{name}}` replaced; what is put in is not looked at again."""
    pieces = template.split("{{")
    made = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        made += [parts[name], rest]
    return "".join(made)


def _policy(style: str, script: str) -> str:
    """Nothing may be loaded, from anywhere; the one style and the one script are known by their hashes."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        " base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _script() -> str:
    parts = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'


def _asset(name: str) -> str:
    return (files("sessions.export.report") / name).read_text(encoding="utf-8")
