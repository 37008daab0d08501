"""One function for each command: from what follows its name to the command."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast, get_args

import msgspec

from engine.debug import commands as do
from engine.debug.arguments import Arguments, bare
from engine.debug.errors import DebugError
from engine.debug.said import CAUGHT
from engine.interventions import Scale
from engine.option_error import OptionError
from engine.params import SamplingParams

_OF_REQUEST = re.compile(r"\s+req\s+([0-9]+(?:\.[0-9]+)?)\s*$")
_EXAMINED = re.compile(
    r"""(?P<place>[^\[]+?)\s*
    (?:\[\s*(?:req\s+(?P<request>[0-9]+(?:\.[0-9]+)?))?\s*(?:row\s+(?P<row>[0-9]+))?\s*\])?\s*$""",
    re.VERBOSE,
)
_SHAPE = re.compile(r"/(?P<count>[0-9]{0,4})(?P<format>[a-z]?)")
_SCALED = re.compile(r"layer\((?P<layer>[0-9]+)\)\.(?P<stage>\w+)(?:\[(?P<head>[0-9]+)\])?(?:\*(?P<factor>\S+))?")
_WHOLE: Final = ("max_tokens", "top_k", "seed")
_REAL: Final = (
    "temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip
_SAMPLING: Final = dict.fromkeys((*_WHOLE, *_REAL, "ignore_eos"), "sampling")
_SUBMIT: Final = _SAMPLING | {"n": "", "priority": ""}
_FORK: Final = _SAMPLING | {"token": "", "prompt": "", "scale": "", "off": ""}


def break_(given: Arguments) -> do.Command:
    return _break(given, temporary=False)


def tbreak(given: Arguments) -> do.Command:
    return _break(given, temporary=True)


def _break(given: Arguments, temporary: bool) -> do.Break:
    place = given.before("if") if given.follows("at") else None
    condition = None
    if given.follows("if"):
        condition = given.rest()
    given.end()
    return do.Break(condition, place, temporary)


def watch(given: Arguments) -> do.Command:
    expression = given.rest()
    if found := _OF_REQUEST.search(expression.text):
        return do.Watch(do.Source(expression.text[: found.start()], expression.at), found.group(1))
    return do.Watch(expression)


def catch(given: Arguments) -> do.Command:
    event = given.choice("what to catch", CAUGHT)
    return do.Catch(event, given.only_request())


def condition(given: Arguments) -> do.Command:
    number = given.number("a point's number")
    return do.Condition(number, None if given.ended else given.rest())


def ignore(given: Arguments) -> do.Command:
    number, count = given.number("a point's number"), given.number("how many hits to ignore")
    given.end()
    return do.Ignore(number, count)


def delete(given: Arguments) -> do.Command:
    return do.Delete(given.numbers("a point's number"))


def enable(given: Arguments) -> do.Command:
    return do.Enable(given.numbers("a point's number"), True)


def disable(given: Arguments) -> do.Command:
    return do.Enable(given.numbers("a point's number"), False)


def commands(given: Arguments) -> do.Command:
    """`commands 1: print entropy; continue` in one line, or the lines that follow up to `end`."""
    begun = given.colon()
    number = None if begun or given.ended else given.number("a point's number")
    if not begun and given.ended:
        return do.Commands(number)
    if not (begun or given.colon()):
        raise given.wrong("a colon must stand before the commands")
    lines = tuple(line for line in split_lines(given.rest().text) if line)
    return do.Commands(number, lines)


def split_lines(text: str) -> list[str]:
    """The commands of a line, which semicolons part; those inside quotes do not."""
    parts, quote, start = [], "", 0
    for at, character in enumerate(text):
        if character in "\"'" and (not quote or quote == character) and text[at - 1 : at] != "\\":
            quote = "" if quote else character
        elif character == ";" and not quote:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def info(given: Arguments) -> do.Command:
    topic: do.InfoTopic = "breakpoints" if given.follows("b") else given.choice("the topic", do.INFO_TOPICS)
    given.end()
    return do.Info(topic)


def print_(given: Arguments) -> do.Command:
    return do.Print(given.rest())


def examine(given: Arguments) -> do.Command:
    count, format_ = 8, "f"
    usage = given.usage
    if found := _SHAPE.match(given.line, given.at):
        count = int(found["count"] or 8)
        format_ = found["format"] or "f"
        given = Arguments(given.line, found.end(), usage)
    formats = get_args(do.ExamineFormat)
    if format_ not in formats:
        raise given.wrong(f"the format is one of {', '.join(formats)}, not {format_!r}")
    if not 1 <= count <= 4096:
        raise given.wrong(f"the count is {count}: it is 1 to 4096")
    source = given.rest()
    parts = _EXAMINED.match(source.text)
    if parts is None:
        raise given.wrong(f"{source.text!r} is no stage")
    row = None if parts["row"] is None else int(parts["row"])
    place = do.Source(parts["place"], source.at)
    return do.Examine(count, cast(do.ExamineFormat, format_), place, parts["request"], row)


def assert_(given: Arguments) -> do.Command:
    return do.Assert(given.rest())


def next_(given: Arguments) -> do.Command:
    return _counted(given, do.Next)


def into(given: Arguments) -> do.Command:
    return _counted(given, do.Into)


def reverse_step(given: Arguments) -> do.Command:
    return _counted(given, do.ReverseStep)


def _counted(given: Arguments, kind: Callable[[int], do.Command]) -> do.Command:
    count = given.number("how many times", 1)
    given.end()
    if count < 1:
        raise given.wrong("the count is 0: it must be at least 1")
    return kind(count)


def until(given: Arguments) -> do.Command:
    source = given.rest()
    if source.text.isascii() and source.text.isdecimal():
        return do.Until(step=int(source.text))
    if re.fullmatch(r"(layer\(\s*[0-9]+\s*\)\s*\.\s*)?[a-z_]+", source.text):
        return do.Until(place=source)
    return do.Until(condition=source)


def advance(given: Arguments) -> do.Command:
    position = None if given.ended else given.number("a position")
    given.end()
    return do.Advance(position)


def goto(given: Arguments) -> do.Command:
    word = given.word()
    given.end()
    if word is None:
        raise given.wrong("say where to")
    return do.Goto(step=int(word)) if word.isascii() and word.isdecimal() else do.Goto(name=word)


def branch(given: Arguments) -> do.Command:
    word = given.word()
    given.end()
    if word is not None and not (word.isascii() and word.isdecimal()):
        raise given.wrong(f"a branch is a number, not {word!r}")
    return do.LookBranch(None if word is None else int(word))


def last(given: Arguments) -> do.Command:
    return do.Last(given.rest())


def bookmark(given: Arguments) -> do.Command:
    name = given.word()
    given.end()
    if name is not None and (name.isdecimal() or name in ("start", "end")):
        raise given.wrong(f"{name!r} is a place of its own: choose another name")
    return do.Bookmark(name)


def abort(given: Arguments) -> do.Command:
    return do.AbortRequest(_only_request(given))


def preempt(given: Arguments) -> do.Command:
    return do.Preempt(_only_request(given))


def _only_request(given: Arguments) -> str:
    request = given.request()
    given.end()
    return request


def evict(given: Arguments) -> do.Command:
    given.follows("block")
    block = given.number("a block")
    given.end()
    return do.Evict(block)


def set_(given: Arguments) -> do.Command:
    given.choice("what to set", ("policy",))
    policy: Any = given.word()
    given.end()
    if policy is None:
        raise given.wrong("name a policy, such as fcfs or lpm")
    return do.SetPolicy(policy)


def rewind(given: Arguments) -> do.Command:
    exact = given.follows("--exact")
    step = given.number("a step")
    exact = given.follows("--exact") or exact
    given.end()
    return do.Rewind(step, exact)


def submit(given: Arguments) -> do.Command:
    prompt = given.text("the prompt")
    if not prompt:
        raise given.wrong("the prompt is empty")
    found = given.settings(_SUBMIT)
    n = int(_number(given, "n", found.pop("n", "1")))
    priority = int(_number(given, "priority", found.pop("priority", "0")))
    return do.Submit(prompt, with_settings(SamplingParams(), _sampling(given, found)), n, priority)


def fork(given: Arguments) -> do.Command:
    whose = given.whose()
    found = given.settings(_FORK)
    token = _token(found.pop("token")) if "token" in found else None
    prompt = bare(found.pop("prompt")) if "prompt" in found else None
    scales = [_scale(given, bare(found.pop(name)), name == "off") for name in ("scale", "off") if name in found]
    return do.Fork(whose, token, prompt, _sampling(given, found), tuple(scales))


def force(given: Arguments) -> do.Command:
    """Another token: text in quotes, or an id."""
    is_text = given.line[given.at : given.at + 1] in ("'", '"')
    token: int | str = given.text("a token") if is_text else given.number("a token's id")
    whose = given.whose()
    given.end()
    return do.Fork(whose, token)


def select(given: Arguments) -> do.Command:
    whose = given.whose()
    if whose is None:
        raise given.wrong("name a request, such as 3 or 3.1")
    given.end()
    return do.Select(whose)


def help_(given: Arguments) -> do.Command:
    return do.Help(given.word())


def nothing(kind: Callable[[], do.Command]) -> Callable[[Arguments], do.Command]:
    """Reads a command that takes nothing."""

    def read(given: Arguments) -> do.Command:
        given.end()
        return kind()

    return read


def with_settings(params: SamplingParams, settings: tuple[tuple[str, Any], ...]) -> SamplingParams:
    """`params` with some settings changed. Raises DebugError where one cannot be used."""
    try:
        return msgspec.structs.replace(params, **dict(settings))
    except OptionError as error:
        raise DebugError(str(error)) from None


def _token(given: str) -> int | str:
    """An id, or text where it stands in quotes or is no number."""
    return int(given) if given.isascii() and given.isdecimal() else bare(given)


def _sampling(given: Arguments, found: Mapping[str, str]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, _number(given, name, value)) for name, value in found.items())


def _number(given: Arguments, name: str, value: str) -> float | int | bool:
    if name == "ignore_eos":
        if value not in ("true", "false"):
            raise given.wrong(f"{name} is {value!r}: it is true or false")
        return value == "true"
    try:
        return float(value) if name in _REAL else int(value)
    except ValueError:
        kind = "a number" if name in _REAL else "a whole number"
        raise given.wrong(f"{name} is {value!r}: it must be {kind}") from None


def _scale(given: Arguments, text: str, off: bool) -> Scale:
    """`layer(3).attn_out[2]*0.5`, or without a factor where it is switched off."""
    found = _SCALED.fullmatch(text)
    if found is None or off == (found["factor"] is not None):
        form = "layer(3).mlp_out, or layer(3).attn_out[2] for a head" + ("" if off else ", and *FACTOR")
        raise given.wrong(f"{text!r} is not of the form {form}")
    try:
        factor = 0.0 if off else float(found["factor"])
        head = None if found["head"] is None else int(found["head"])
        return Scale(int(found["layer"]), found["stage"], factor, head)
    except OptionError as error:
        raise DebugError(str(error)) from None
    except ValueError:
        raise given.wrong(f"the factor is {found['factor']!r}: it must be a number") from None
