"""A headless Chromium, spoken to over two pipes: what a page logs, requests and measures, at any width and colour scheme."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium() -> str | None:
    """Return the path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page in a browser; `events` holds everything that it told."""

    def __init__(self, process: subprocess.Popen[bytes], reading: int, writing: int) -> None:
        self.process, self.reading, self.writing = process, reading, writing
        self.events: list[dict[str, Any]] = []
        self.rest = b""
        self.number = 0
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if hasattr(self, "session"):
            message["sessionId"] = self.session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for answer in self._messages(until):
                if answer.get("id") == self.number:
                    assert "error" not in answer, f"{method}: {answer['error']}"
                    found: dict[str, Any] = answer["result"]
                    return found
        raise TimeoutError(method)

    def _messages(self, until: float) -> list[dict[str, Any]]:
        ready, _, _ = select.select([self.reading], [], [], max(0.0, until - time.monotonic()))
        if ready:
            part = os.read(self.reading, 1 << 20)
            assert part, "the browser ended"
            self.rest += part
        *whole, self.rest = self.rest.split(b"\0")
        messages = [json.loads(one) for one in whole]
        self.events += [one for one in messages if "method" in one]
        return messages

    def open(self, path: Path, width: int, height: int = 900, dark: bool = False, phone: bool = False) -> None:
        """Open a file at a width in CSS pixels."""
        self.events.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=path.resolve().as_uri())
        until = time.monotonic() + 60
        while not any(one["method"] == "Page.loadEventFired" for one in self.events):
            assert time.monotonic() < until, "the page did not load"
            self._messages(until)

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression is, as JSON holds it."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Save what is seen, or the whole page, as PNG."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        options = {"captureBeyondViewport": True, "clip": clip} if whole else {}
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png", **options)["data"]))

    def print(self, path: Path) -> None:
        """Save what would be printed as PDF."""
        path.write_bytes(base64.b64decode(self.ask("Page.printToPDF", printBackground=True)["data"]))

    def requested(self) -> list[str]:
        """Return the addresses of everything that was requested."""
        return [one["params"]["request"]["url"] for one in self.events if one["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """Return what stands in the console, and every error."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(one["params"]) for one in self.events if one["method"] in kinds]


@contextmanager
def browse(chromium: str) -> Iterator[Browser]:
    """Start a browser, and end it."""
    from_browser, to_us = os.pipe()
    to_browser, from_us = os.pipe()  # the browser reads from 3 and writes to 4

    def connect() -> None:
        low, high = os.dup(to_browser), os.dup(to_us)
        os.dup2(low, 3)
        os.dup2(high, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--no-first-run", "--disable-extensions", "--disable-background-networking", "--hide-scrollbars",
                 f"--user-data-dir={profile}"]  # fmt: skip
        process = subprocess.Popen(
            [chromium, *flags, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=connect,
        )
        os.close(to_us)
        os.close(to_browser)
        try:
            yield Browser(process, from_browser, from_us)
        finally:
            os.close(from_us)
            process.kill()
            process.wait()
            os.close(from_browser)
