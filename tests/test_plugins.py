"""The plugin contract: options, files that are no plugins, hooks that fail, and the one door for everybody."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import admission
from engine.changed_logits import Changed
from engine.details import FILTERS, TRANSFORMS
from engine.kv import eviction
from engine.params import SamplingParams
from engine.plug_guard import ContractError, PluginFailedError, call_hook
from plugins import finding
from plugins.arguments import options_of, read_options
from plugins.contract import CAPABILITIES
from plugins.errors import PluginError
from plugins.example import write_example
from plugins.finding import find, installed, load
from plugins.loading import configure, load_plugins
from tests.commands import ROOT, run
from workbench.exporting import FORMATS
from workbench.record import Record
from workbench.views.captured import captured_logits
from workbench.views.registry import VIEWS
from workbench.views.tokens_whatif import processed, rework_choice

DOCUMENT = (ROOT / "docs" / "plugins.md").read_text()


class Options(msgspec.Struct, frozen=True):
    size: Annotated[int, msgspec.Meta(ge=1, le=9)] = 3
    scale: float = 0.5
    on: bool = False
    mode: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()


# -- options -----------------------------------------------------------------------------------------------


def test_options_are_typed() -> None:
    found = read_options("x", Options, "size:4,scale=0.25,on,mode:b,names:p,names:q")
    assert found == Options(4, 0.25, True, "b", ("p", "q"))
    assert read_options("x", Options, "on:off") == read_options("x", Options, "") == Options()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("sise:4", "plugin x has no option sise: it takes size, scale, on, mode, names"),
        ("size:10", "plugin x: option size is '10': it must be a whole number of at least 1 and of at most 9"),
        ("scale:big", "plugin x: option scale is 'big': it must be a number"),
        ("mode:c", "plugin x: option mode is 'c': it must be one of a, b"),
        ("on:perhaps", "plugin x: option on is 'perhaps': it must be on or off"),
        ("size:1,size:2", "plugin x: option size is given twice"),
        (":4", "plugin x: ':4' has no option's name"),
        ("size", "plugin x: option size is given no value: it is a whole number of at least 1 and of at most 9"),
        ("names", "plugin x: option names is given no value: it is text (repeatable)"),
    ],
)
def test_a_wrong_option_names_plugin_option_value_and_what_is_allowed(arguments: str, line: str) -> None:
    with pytest.raises(PluginError) as caught:
        read_options("x", Options, arguments)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_bounds_are_said_as_they_are() -> None:
    class Wide(msgspec.Struct):
        most: Annotated[int, msgspec.Meta(le=2**30)] = 1
        part: Annotated[float, msgspec.Meta(gt=0)] = 0.5

    said = [option.type for option in options_of(Wide)]
    assert said == ["a whole number of at most 1073741824", "a number above 0"]


@given(st.text(max_size=40))
def test_whatever_is_written_is_read_or_refused_in_one_line(arguments: str) -> None:
    try:
        found: object = read_options("x", Options, arguments)
    except PluginError as error:
        found = str(error)
    assert isinstance(found, Options) or "plugin x" in str(found)


# -- files ---------------------------------------------------------------------------------------------------

GOOD = """
from plugins.contract import NoOptions
class Thing:
    {body}
class Plugin:
    name, version, description, options = "{name}", "1", "A thing.", NoOptions
    def provide(self, options):
        return [Thing()]
"""
HOOK = "def process_logits(self, row): return None"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1 / 0", "plugin thing: import raised ZeroDivisionError: division by zero"),
        ("def f(:", "import raised SyntaxError"),
        ("raise SystemExit(3)", "import raised SystemExit: 3"),
        ("x = 1", "has neither a class Plugin nor an object plugin"),
        ("class Plugin: name = 'thing'", "has no version"),
        (GOOD.format(name="thing", body="def process_logits(self): return None"),
         "plugin thing: process_logits() must take (row)"),
        (GOOD.format(name="thing", body="def eviction_key(self, a, b, c, d): return (a,)"),
         "plugin thing: its eviction policy has no name"),
        (GOOD.format(name="thing", body="name = 'lru'\n    def eviction_key(self, a, b, c, d): return (a,)"),
         "plugin thing: the eviction policy lru is built in"),
        (GOOD.format(name="thing", body="pass"), "plugin thing provides Thing, which has no hook"),
        (GOOD.format(name="thing", body="name = meaning = 'x'\n    def cut_ranking(self, a, b, c, d): return a"),
         "plugin thing: a sampler filter follows from a request's settings"),
        (GOOD.format(name="int8", body=HOOK), "has the name of an installed one"),
        (GOOD.format(name="top_k", body=HOOK), "is called 'top_k': use small letters"),
        (GOOD.format(name="temperature", body=HOOK), "has the name of a sampler stage"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_plugin_is_one_line_before_anything_runs(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "thing.py"
    file.write_text(text)
    ran = run("record", "--prompt", "x", "--plugin", file, "-o", tmp_path / "run.wbs")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert line in ran.err
    assert not (tmp_path / "run.wbs").exists()


@pytest.mark.parametrize("where", ["import", "provide"])
def test_a_file_that_never_gets_ready_is_one_line(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "LOADING_S", 0.1)
    text, loop = GOOD.format(name="thing", body=HOOK), "while True: pass"
    file = tmp_path / "thing.py"
    file.write_text(loop if where == "import" else text.replace("return [Thing()]", loop))
    with pytest.raises(PluginError, match=f"^plugin thing: {where} took more than 0.1 s$"):
        load_plugins([str(file)])


def test_names_that_clash_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        body = "name = 'mru'\n    def eviction_key(self, a, b, c, d): return (a,)"
        (tmp_path / f"{name}.py").write_text(GOOD.format(name=name, body=body))
    one, two = str(tmp_path / "one.py"), str(tmp_path / "two.py")
    with pytest.raises(PluginError, match="both one and two bring an eviction policy mru: use one of them"):
        load_plugins([one, two])
    with pytest.raises(PluginError, match="plugin one is given twice"):
        load_plugins([one, one])
    with pytest.raises(PluginError, match="there is no plugin nobody: `workbench plugins ls`"):
        load_plugins(["nobody"])


def test_a_file_that_changed_is_not_what_the_session_ran_with(tmp_path: Path) -> None:
    file, session = tmp_path / "thing.py", tmp_path / "run.wbs"
    file.write_text(GOOD.format(name="thing", body=HOOK))
    assert run("record", "--prompt", "x", "--max-tokens", 2, "--plugin", file, "-o", session).code == 0
    assert run("replay", session, "--plugin", file).code == 0
    assert "thing 1, which is not here" in run("replay", session).err
    file.write_text(GOOD.format(name="thing", body=HOOK) + "\n# another one\n")
    changed = run("replay", session, "--plugin", file)
    assert changed.code == 2
    assert "install or name the one it ran with" in changed.err


# -- hooks ---------------------------------------------------------------------------------------------------


def endless() -> None:
    while True:
        pass


def stubborn() -> None:
    while True:
        try:
            time.sleep(10)
        except BaseException:
            if len(tries) > 2:
                raise
            tries.append(1)


tries: list[int] = []


@pytest.mark.parametrize("hook", [endless, lambda: time.sleep(60), stubborn])
def test_a_hook_that_does_not_return_is_interrupted(hook: Callable[[], None]) -> None:
    started = time.monotonic()
    with pytest.raises(PluginFailedError, match=r"plugin p: h took more than 0\.1 s") as caught:
        call_hook("p", "h", hook, 0.1)
    assert caught.value.why == "too_slow"
    assert time.monotonic() - started < 5
    assert call_hook("p", "h", lambda: 3, 0.1) == 3
    time.sleep(0.15)  # nothing rings any more


def test_what_a_hook_raises_is_one_short_line() -> None:
    def hook() -> None:
        raise ValueError("one\ntwo" + "x" * 1000)

    with pytest.raises(PluginFailedError) as caught:
        call_hook("p", "h", hook)
    assert caught.value.why == "raised"
    assert caught.value.message.startswith("raised ValueError: one two")
    assert len(caught.value.message) < 220


@given(st.dictionaries(st.integers(0, 19), st.floats(-50, 50, width=32), max_size=5), st.sets(st.integers(0, 19)))
def test_a_change_touches_what_it_names_and_nothing_else(values: dict[int, float], removed: set[int]) -> None:
    logits = np.linspace(-1, 1, 20, dtype=np.float32)
    before = logits.copy()
    change = Changed(tuple(values), tuple(values.values()), tuple(removed))
    assert change.problem(20) is None
    after = change.as_float32().apply(logits)
    for token in range(20):
        expected = -np.inf if token in removed else values.get(token, before[token])
        assert after[token] == np.float32(expected)
    assert (logits == before).all()


def test_only_those_that_are_allowed_are_left() -> None:
    after = Changed((3,), (9.0,), only=(1, 2)).apply(np.zeros(5, np.float32))
    assert after.tolist() == [-np.inf, 0, 0, 9.0, -np.inf]


@pytest.mark.parametrize(
    "change",
    [Changed((5,), (0.0,)), Changed((-1,), (0.0,)), Changed((1,), ()), Changed((1,), (float("nan"),)),
     Changed((1,), (1e300,)), Changed(removed=(9,)), Changed(only=(7,))],
)  # fmt: skip
def test_a_change_that_makes_no_sense_is_refused(change: Changed) -> None:
    with np.errstate(over="ignore"):
        assert change.problem(5)


# -- trying other settings, and going back ---------------------------------------------------------------------

BANS = """
from plugins.contract import Changed, NoOptions
class Thing:
    def process_logits(self, row):
        return Changed(removed=(int(row.logits.argmax()),)) if row.position % 2 else None
class Plugin:
    name, version, description, options = "bans", "1", "Bans.", NoOptions
    def provide(self, options):
        return [Thing()]
"""


def test_other_settings_are_tried_on_what_the_processor_left(tmp_path: Path) -> None:
    file, path = tmp_path / "bans.py", tmp_path / "run.wbs"
    file.write_text(BANS)
    line = ("record", "--prompt", "def f(x):", "--max-tokens", 4, "--capture", "logits")
    assert run(*line, "--plugin", file, "-o", path).code == 0
    record = Record.open(path)
    about = record.requests()[0]
    position = next(at for at in range(about.prompt_tokens, about.prompt_tokens + 4) if at % 2)
    (done,) = processed(record, about.request, position)
    details = record.details(about.request, position)
    assert details is not None
    logits = captured_logits(record, about.request, position)
    assert logits is not None
    again = rework_choice(record, about.request, position, logits, SamplingParams(max_tokens=4))
    assert not isinstance(again, str)
    assert again.details == details
    assert details.token not in done.change.removed
    record.close()


MOODY = """
import os
from plugins.contract import Changed, NoOptions
class Thing:
    name, compares = "moody", 8
    def process_logits(self, row):
        if row.position > 8 and os.environ.get("MOOD") == "process":
            raise RuntimeError("not today")
        return Changed(removed=(int(row.logits.argmax()),))
    def order_waiting(self, waiting):
        if os.environ.get("MOOD") == "order":
            raise RuntimeError("not today")
        return waiting[::-1]
class Plugin:
    name, version, description, options = "moody", "1", "Moody.", NoOptions
    def provide(self, options):
        return [Thing()]
"""


@pytest.mark.parametrize("mood", ["process", "order"])
def test_what_failed_once_fails_again_in_a_replay_whatever_it_would_do_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mood: str
) -> None:
    file, path = tmp_path / "moody.py", tmp_path / "run.wbs"
    file.write_text(MOODY)
    monkeypatch.setenv("MOOD", mood)
    line = ("--prompt", "def f(x):", "--prompt", "class A:", "--max-tokens", 9, "--policy", "moody", "-o", path)
    assert "not today" in run("record", *line, "--plugin", file).err
    monkeypatch.setenv("MOOD", "fine")
    assert run("replay", path, "--plugin", file).out.startswith("identical")
    admission.POLICIES.pop("moody")


# -- one door ------------------------------------------------------------------------------------------------


def built_in(kind: str) -> set[str]:
    return {
        made.name
        for several in installed().values()
        for found in several
        if found.built_in
        for made in configure(found, load(found), "").capabilities
        if made.kind == kind
    }


def test_what_is_built_in_comes_through_the_door_of_strangers() -> None:
    assert built_in("scheduling policy") == {"fcfs", "lpm"} <= set(admission.POLICIES)
    assert built_in("eviction policy") == {"lru"} <= set(eviction.POLICIES)
    assert built_in("exporter") == {name for name, each in FORMATS.items() if type(each).__name__ == "Format"}
    assert built_in("view") == {spec.name for spec in VIEWS}
    assert built_in("sampler transform") == set(TRANSFORMS)
    assert built_in("sampler filter") == set(FILTERS)
    assert find("policies").built_in


def test_every_hook_is_documented_with_what_its_protocol_has() -> None:
    for kind, (method, protocol) in CAPABILITIES.items():
        section = re.search(rf"^### {kind}$(.*?)(?=^##|\Z)", DOCUMENT, re.M | re.S | re.I)
        assert section is not None, f"docs/plugins.md says nothing about the {kind}"
        assert f"`{method}(" in section[1]
        for attribute in protocol.__annotations__:
            assert f"`{attribute}`" in section[1], f"{kind}: {attribute}"
        assert protocol.__doc__
        assert getattr(protocol, method).__doc__


def test_the_documented_example_works(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", DOCUMENT, re.S)
    assert code is not None
    file = tmp_path / "steady.py"
    file.write_text(code[1])
    ran = run("record", "--prompt", "def f(x):", "--max-tokens", 3, "--plugin", f"{file}=margin:0.1", "-o",
              tmp_path / "run.wbs")  # fmt: skip
    assert ran.code == 0, ran.err


def test_new_writes_a_package_that_works_and_passes_its_test(tmp_path: Path) -> None:
    folder = tmp_path / "shy-thing"
    assert run("plugins", "new", "shy-thing", "-o", folder).code == 0
    ran = run("record", "--prompt", "a b a b a", "--max-tokens", 3, "--plugin", f"{folder}/shy_thing.py=length:1",
              "-o", tmp_path / "run.wbs")  # fmt: skip
    assert ran.code == 0, ran.err
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", str(folder)]
    paths = {"PYTHONPATH": str(ROOT), "PATH": ""}
    tested = subprocess.run(line, cwd=folder, env=paths, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout
    again = run("plugins", "new", "shy-thing", "-o", folder)
    assert (again.code, "exists" in again.err) == (2, True)
    with pytest.raises(PluginError, match="use small letters"):
        write_example("Shy Thing", tmp_path / "x")


def test_a_contract_error_is_said_without_its_type() -> None:
    def hook() -> None:
        raise ContractError("returned nothing")

    with pytest.raises(PluginFailedError, match="plugin p: h returned nothing"):
        call_hook("p", "h", hook)
