"""A real browser for tests: Debian's chromium, driven through chromedriver by the WebDriver protocol (W3C)."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for a reference to an element
ENTER = "\ue007"
OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--window-size=1400,1000"]
OPTIONS += ["--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage", "about:blank"]


class Browser:
    """A window without a screen; close it at the end.

    Args:
        profile: a folder for chromium's own files.
    """

    def __init__(self, profile):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._process = subprocess.Popen(
            [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._address = f"http://127.0.0.1:{port}"
        self._session = ""
        try:
            self._wait_for_driver()
            options = {"binary": CHROMIUM, "args": [*OPTIONS, f"--user-data-dir={profile}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
            made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self._session = f"/session/{made['sessionId']}"
        except BaseException:
            self.close()
            raise

    def close(self):
        """End browser and driver."""
        if self._session:
            self._call("DELETE", "")
        self._process.terminate()
        self._process.wait(30)

    def open(self, url):
        """Load a page and wait until it is there."""
        self._call("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """The value of JavaScript: `return arguments[0] + 1`. A promise is waited for."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def texts(self, css):
        """What is shown of each element that fits the selector."""
        shown = "(one) => one.innerText ?? one.textContent"  # the parts of a drawing have the latter alone
        return self.run(f"return [...document.querySelectorAll(arguments[0])].map({shown})", css)

    def click(self, css):
        """Click the first element that fits, as a person does: it is scrolled to, and must not be covered."""
        self._call("POST", f"/element/{self._find(css)}/click", {})

    def type(self, css, text):
        """Replace what is in an input by `text`, key by key."""
        self._call("POST", f"/element/{self._find(css)}/clear", {})
        self.keys(css, text)

    def keys(self, css, text):
        """Press keys on an element."""
        self._call("POST", f"/element/{self._find(css)}/value", {"text": text})

    def choose(self, css, value):
        """Choose an option of a select."""
        self._call("POST", f"/element/{self._find(f'{css} option[value={json.dumps(value)}]')}/click", {})

    def screenshot(self, path):
        """What the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def console(self):
        """Messages of the console since the last call."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def requests(self):
        """Addresses that were asked for since the last call."""
        entries = self._call("POST", "/se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in entries]
        return [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]

    def _find(self, css):
        return self._call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def _call(self, method, path, content=None):
        request = urllib.request.Request(
            self._address + self._session + path,
            None if content is None else json.dumps(content).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as err:
            raise RuntimeError(f"{method} {path}: {json.load(err)['value']['message']}") from None

    def _wait_for_driver(self):
        for _ in range(300):
            try:
                if self._call("GET", "/status")["ready"]:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{DRIVER} does not answer")
