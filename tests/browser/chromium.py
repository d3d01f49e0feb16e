"""A headless Chromium, spoken to over a pipe in its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 30.0
"""Longest time for one answer."""

Message = dict[str, Any]


def find() -> str:
    """The program; AssertionError that says what to install."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert found, "these tests need Chromium: apt-get install chromium, or make cluster-tools"
    return found


class Page:
    """One tab.

    Attributes:
        complaints: errors and warnings of its console, and what it failed to load.
        requests: addresses that it asked for.
    """

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._rest, self._last, self._session = b"", 0, ""
        self._events: list[Message] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def open(self, file: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Show the file in a window of that size, and wait until it is loaded."""
        self.visit(file.resolve().as_uri(), width, height, dark)

    def visit(self, url: str, width: int, height: int = 900, dark: bool = False) -> None:
        """Show the address in a window of that size, and wait until it is loaded."""
        mobile = width < 600
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        self._ask("Page.navigate", url=url)
        self._until(lambda: any(e["method"] == "Page.loadEventFired" for e in self._events))

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in JavaScript."""
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression in JavaScript is true."""
        deadline = time.monotonic() + SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.05)

    def point(self, x: float, y: float) -> None:
        """Move the pointer there."""
        self._ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, file: Path, whole: bool = True) -> None:
        """Of the whole page, or of what is in the window."""
        answer = self._ask("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(answer["data"]))

    def _ask(self, method: str, **parameters: Any) -> Message:
        self._last += 1
        number = self._last
        asked: Message = {"id": number, "method": method, "params": parameters}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._writer, json.dumps(asked).encode() + b"\0")
        answers: list[Message] = []

        def answered() -> bool:
            answers.extend(e for e in self._events if e.get("id") == number)
            return bool(answers)

        self._until(answered)
        assert "error" not in answers[0], answers[0]["error"]
        result: Message = answers[0]["result"]
        return result

    def _until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not done():
            ready, _, _ = select.select([self._reader], [], [], deadline - time.monotonic())
            assert ready, "Chromium does not answer"
            data = os.read(self._reader, 1 << 20)
            assert data, "Chromium has ended"
            *whole, self._rest = (self._rest + data).split(b"\0")
            for part in whole:
                self._take(json.loads(part))

    def _take(self, message: Message) -> None:
        message.setdefault("method", "")
        self._events.append(message)
        parameters = message.get("params", {})
        match message["method"]:
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning"):
                self.complaints.append(str(parameters["args"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(str(parameters["exceptionDetails"]))
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.complaints.append(str(parameters["entry"]))
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A page in a Chromium of its own, which is gone afterwards.

    Args:
        profile: an empty folder for what it keeps.
    """
    to_child, writer = os.pipe()
    reader, from_child = os.pipe()
    command = [
        # The protocol's pipe: it reads commands from descriptor 3 and answers on 4.
        "bash", "-c", f'exec "$@" 3<&{to_child} 4>&{from_child}', "chromium", find(),
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking",
        f"--user-data-dir={profile}",
    ]  # fmt: skip
    with (profile / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            command, pass_fds=(to_child, from_child), stdout=log, stderr=log, start_new_session=True
        )
    os.close(to_child)
    os.close(from_child)
    try:
        yield Page(reader, writer)
    finally:
        os.close(writer)
        os.close(reader)
        # All of its processes; the profile is nobody's then.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
