# SPDX-License-Identifier: Apache-2.0
"""A real headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

import numpy as np
from PIL import Image
from waiting import PATIENCE, wait_for
from websockets.sync.client import connect

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = [
    "--headless=new", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--disable-default-apps", "--hide-scrollbars", "--mute-audio",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-port=0",
]  # fmt: skip


class Browser:
    """One page. What it was told on its console, and which addresses it asked for, are kept."""

    def __init__(self, folder: Path, size: tuple[int, int] = (1280, 800), flags: Sequence[str] = ()) -> None:
        assert CHROMIUM, "no Chromium on this machine"
        self.folder = folder
        self.requests: list[str] = []
        self.errors: list[str] = []
        profile = folder / "profile"
        self._process = subprocess.Popen(
            [
                CHROMIUM,
                *FLAGS,
                *flags,
                f"--user-data-dir={profile}",
                f"--window-size={size[0]},{size[1]}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ready = profile / "DevToolsActivePort"
        wait_for(lambda: ready.is_file() and len(ready.read_text().split()) > 1, "Chromium did not start")
        with urlopen(f"http://127.0.0.1:{ready.read_text().split()[0]}/json") as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None)
        self._number = 0
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        width, height = size
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "downloads"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=PATIENCE)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come before it are looked at."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._socket.recv(timeout=PATIENCE))
            if told.get("id") == self._number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                return told["result"]
            match told.get("method"):
                case "Network.requestWillBeSent":
                    self.requests.append(told["params"]["request"]["url"])
                case "Runtime.exceptionThrown":
                    details = told["params"]["exceptionDetails"]
                    self.errors.append(details.get("exception", {}).get("description") or details["text"])

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Evaluate JavaScript and return its value."""
        told = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, script: str, what: str) -> None:
        """Wait until JavaScript is true."""
        wait_for(lambda: self.run(script), what)

    def text(self) -> str:
        """Return what the page says."""
        return self.run("document.body?.innerText ?? ''")

    def reads(self, words: str) -> None:
        """Wait until the page says these words."""
        wait_for(lambda: words in self.text(), f"the page does not say {words!r}")

    def key(self, name: str, times: int = 1) -> None:
        codes = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Enter": 13, "ArrowDown": 40}
        for _ in range(times):
            for kind in ("rawKeyDown", "keyUp"):
                self.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=codes[name])

    def click(self, x: float, y: float) -> None:
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self) -> np.ndarray:
        """Take a screenshot, (H, W, 3) uint8."""
        data = base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
