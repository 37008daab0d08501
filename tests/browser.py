"""A headless Chromium, spoken to over a pipe: what tests of the HTML report look with."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WHY_NOT = "there is no chromium, chromium-browser or google-chrome on PATH: apt install chromium"
_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
    "--remote-debugging-pipe", "--no-first-run", "--window-size=1300,900",
)  # fmt: skip
_PATIENCE_S = 60
_SHOWN = "document.documentElement.dataset.ready === 'yes' || document.querySelector('#problem:not([hidden])')"


class Page:
    """A page in the browser. Everything it logs, and everything it asks for, is kept."""

    def __init__(self, to: int, answers: int) -> None:
        self._to = to
        self._from = answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.said: list[dict[str, Any]] = []

    def attach(self) -> None:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def open(self, page: Path, moment: str = "") -> None:
        """Open a file and wait until it has shown its data, or said why not."""
        self.send("Page.navigate", url="about:blank")
        self.said.clear()
        self.send("Page.navigate", url=page.as_uri() + moment)
        self.wait_for(_SHOWN)

    def wait_for(self, condition: str) -> None:
        until = time.monotonic() + _PATIENCE_S
        while not self.value(f"Boolean({condition})"):
            assert time.monotonic() < until, f"the page never came to {condition}"
            time.sleep(0.02)

    def value(self, expression: str) -> Any:
        """The value of an expression in the page; by the browser's tools, so that the page's policy stays."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """What is written in an element."""
        text = self.value(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")
        return " ".join(str(text).split())

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    @property
    def problems(self) -> list[dict[str, Any]]:
        """Exceptions, errors in the log, and policies that were violated."""
        errors = [each for each in self.said if each["method"] == "Runtime.exceptionThrown"]
        entries = [each["params"]["entry"] for each in self.said if each["method"] == "Log.entryAdded"]
        return errors + [entry for entry in entries if entry["level"] == "error"]

    @property
    def requested(self) -> list[str]:
        """The addresses that were asked for."""
        sent = [each for each in self.said if each["method"] == "Network.requestWillBeSent"]
        return [each["params"]["request"]["url"] for each in sent]

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.said.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], _PATIENCE_S)
            assert ready, "the browser does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of a browser whose profile is in `folder`."""
    assert CHROMIUM is not None
    child_in, parent_out = os.pipe()
    parent_in, child_out = os.pipe()

    def place() -> None:
        """The browser reads from descriptor 3 and writes to 4."""
        copies = os.dup(child_in), os.dup(child_out)
        os.dup2(copies[0], 3)
        os.dup2(copies[1], 4)

    line = [CHROMIUM, *_ARGUMENTS, f"--user-data-dir={folder}"]
    process = subprocess.Popen(
        line, preexec_fn=place, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        os.close(child_in)
        os.close(child_out)
        page = Page(parent_out, parent_in)
        page.attach()
        yield page
    finally:
        process.kill()
        process.wait()
        os.close(parent_out)
        os.close(parent_in)
