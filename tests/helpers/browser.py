"""A headless Chromium that tests drive over a pipe (the DevTools protocol), with no package in between."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from select import select
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT = 60  # seconds for whatever a page should do at once: a busy machine may be slow


class Browser:
    """One tab. ``problems`` gathers what console, uncaught exceptions and network have to say against a page."""

    def __init__(self, profile: Path) -> None:
        read, theirs_out = os.pipe()
        theirs_in, write = os.pipe()
        # Chromium reads from descriptor 3 and answers on 4, whatever numbers ours have.
        command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                   "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
        shell = ["bash", "-c", f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"', "bash", *command]
        self._process = subprocess.Popen(
            shell, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._read, self._write, self._buffer, self._last, self._session = read, write, b"", 0, ""
        self.problems: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        os.close(self._write)  # the browser ends with its pipe
        os.close(self._read)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result; events that come in between are looked at."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._last:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        found: dict[str, Any] = answer["result"]
        return found

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT
        while b"\0" not in self._buffer:
            if not select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"the browser said nothing for {WAIT} s")
            if not (more := os.read(self._read, 1 << 20)):
                raise RuntimeError("the browser has gone")
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        name, params = event.get("method"), event.get("params", {})
        if name == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif name == "Runtime.consoleAPICalled":
            self.problems.append(f"console: {params['args']}")
        elif name == "Log.entryAdded":
            self.problems.append(f"log: {params['entry']['text']}")
        elif name == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("file:", "data:")):
            self.problems.append(f"request: {params['request']['url']}")

    def open(
        self, page: Path, *, width: int = 1100, height: int = 900, dark: bool = False, still: bool = False
    ) -> None:
        """Opens a file as a screen of this size would; ``still`` is a reader who wants no motion."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        wish = {"prefers-color-scheme": "dark" if dark else "light",
                "prefers-reduced-motion": "reduce" if still else "no-preference"}  # fmt: skip
        features = [{"name": name, "value": value} for name, value in wish.items()]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.until("document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """The value of an expression, which must be plain data."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until it is true."""
        self.wait(lambda: bool(self.js(expression)), expression)

    def wait(self, there: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT
        while not there():
            if time.monotonic() > deadline:
                raise TimeoutError(f"never came true: {what}")
            time.sleep(0.05)

    def problem_list(self) -> list[str]:
        """The problems so far; asks the browser once more, so that nothing is still under way."""
        self.js("new Promise((done) => requestAnimationFrame(() => done(1)))")
        return self.problems

    def click(self, element: str) -> None:
        """Brings an element into the window and clicks into its middle, as a hand would."""
        middle = (
            f"(() => {{ const e = {element}; e.scrollIntoView({{behavior: 'instant', block: 'center'}}); "
            "const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        x, y = self.js(middle)
        self.mouse(x, y, click=True)

    def mouse(self, x: float, y: float, *, click: bool = False) -> None:
        """Moves the pointer to a place in the window, and clicks there if asked to."""
        kinds = ["mouseMoved", *(["mousePressed", "mouseReleased"] if click else [])]
        for kind in kinds:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def shot(self, path: Path | None = None, *, whole: bool = False) -> bytes:
        """A PNG of the window, or of the whole page."""
        more: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            more = {"captureBeyondViewport": True, "clip": clip}
        picture = base64.b64decode(self.call("Page.captureScreenshot", format="png", **more)["data"])
        if path:
            path.write_bytes(picture)
        return picture
