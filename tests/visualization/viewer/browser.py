"""A real Chromium that reaches no network, for the tests of pages."""

import base64
import io
import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@contextmanager
def open_browser(folder):
    """Start Chromium, or skip where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def errors(browser):
    """What the console complained of since the last call."""
    levels = ("SEVERE", "WARNING")
    return [entry for entry in browser.get_log("browser") if entry["level"] in levels]


def requests(browser):
    """Addresses asked for since the last call, but for files, what they contain and the browser's own."""
    entries = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    sent = [e for e in entries if e["method"] == "Network.requestWillBeSent"]
    addresses = [e["params"]["request"]["url"] for e in sent]
    own = ("file:", "data:", "blob:", "about:", "chrome:")
    return [address for address in addresses if not address.startswith(own)]


def pixels(browser, selector):
    """An element as the browser shows it, ``[H, W, 3]``."""
    box = browser.execute_script(
        "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
        "return {x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height, scale: 1}",
        selector,
    )
    shot = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"clip": box, "captureBeyondViewport": True}
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB"))
