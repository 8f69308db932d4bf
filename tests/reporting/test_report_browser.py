"""A report in a real browser: it loads in silence, its slider moves the cut, and it asks nobody for anything."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oodinv.imaging.encode import write_png
from oodinv.reporting.pages import write_pages
from oodinv.reporting.panels import Panel

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
PROBE = """<script>
addEventListener("DOMContentLoaded", function () {  // pictures off the screen, too, are then waited for
  Array.from(document.images).forEach(function (i) { i.loading = "eager"; });
});
addEventListener("load", function () {
  const slider = document.querySelector("input[type=range]");
  const cut = function () { return getComputedStyle(document.querySelectorAll(".pair img")[1]).clipPath; };
  const before = cut();
  slider.value = 80;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  const drawn = function (i) {  // decoded at once, to its last pixel
    const canvas = document.createElement("canvas");
    canvas.width = i.naturalWidth;
    canvas.height = i.naturalHeight;
    const context = canvas.getContext("2d");
    context.drawImage(i, 0, 0);
    return i.naturalWidth > 0 && context.getImageData(canvas.width - 1, canvas.height - 1, 1, 1).data[3] === 255;
  };
  document.title = JSON.stringify({
    before: before, after: cut(), images: document.images.length,
    drawn: Array.from(document.images).filter(drawn).length,
    requests: performance.getEntriesByType("resource").map(function (e) { return e.name; })
      .filter(function (name) { return !name.startsWith("data:"); })
  });
});
</script>
"""
FAULTS = '<script>console.error("on purpose")</script><img src="http://127.0.0.1:9/picture.png">'


@pytest.fixture(scope="module")
def browser() -> str:
    """A Chromium: the one that OODINV_BROWSER names, or one on the path."""
    found = os.environ.get("OODINV_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium: install it, or name it in OODINV_BROWSER")
    return found


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A report of two faces."""
    rng = np.random.default_rng(0)
    shown = [
        Panel(f"face {n}", *rng.integers(0, 255, (2, 64, 64, 3), dtype=np.uint8), rng.integers(0, 255, (64, 64),
              dtype=np.uint8), rng.normal(size=(2, 32, 32)))
        for n in range(2)
    ]  # fmt: skip
    (path,) = write_pages(tmp_path, shown, 2, "older", {"recipe": "older"})
    return path


def opened(browser: str, path: Path, profile: Path) -> tuple[str, list[str]]:
    """(the page once it has loaded, as HTML; what its console said as an error or a warning)."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--disable-background-networking"]
    command += ["--virtual-time-budget=20000", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert "</html>" in done.stdout, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def reported(html: str) -> dict[str, Any]:
    """Reads what a probe wrote into the title of a page."""
    title = re.search(r"<title>(.*?)</title>", html, re.DOTALL)
    assert title is not None
    found: dict[str, Any] = json.loads(title[1].replace("&quot;", '"').replace("&amp;", "&"))
    return found


def test_a_report_loads_in_silence_and_its_slider_works(browser: str, page: Path, tmp_path: Path) -> None:
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>"), encoding="utf-8")
    html, console = opened(browser, page, tmp_path / "profile")
    assert console == []
    seen = reported(html)
    assert seen["images"] == seen["drawn"] == 2 * 6
    assert seen["requests"] == []
    assert "50%" in seen["before"]
    assert "80%" in seen["after"]


def test_the_check_sees_errors_and_the_page_stops_requests(browser: str, page: Path, tmp_path: Path) -> None:
    """Without this, silence could mean that nothing listens. The page's own policy refuses the foreign picture."""
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", FAULTS + "</body>"), encoding="utf-8")
    _, console = opened(browser, page, tmp_path / "profile")
    assert any("on purpose" in line for line in console)
    assert any("Content Security Policy" in line for line in console)


CLICK = """<script>
addEventListener("load", function () {
  document.querySelector("button[data-before]").click();
  const dialog = document.querySelector("dialog"), slider = dialog.querySelector("input");
  slider.value = 30;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  const pair = Array.from(dialog.querySelectorAll(".pair img"));
  const waiting = setInterval(function () {
    if (!pair.every(function (i) { return i.complete; })) { return; }
    clearInterval(waiting);
    document.title = JSON.stringify({
      open: dialog.open, widths: pair.map(function (i) { return i.naturalWidth; }),
      shown: pair.map(function (i) { return i.getBoundingClientRect().width; }),
      cut: getComputedStyle(pair[1]).clipPath
    });
  }, 50);
});
</script>
"""


def test_a_click_shows_before_and_after_in_full_size(browser: str, tmp_path: Path) -> None:
    files = "aligned/a #1.png", "composites/a #1@+1.png"
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 255, (2, 700, 700, 3), dtype=np.uint8)
    for file, picture in zip(files, (before, after), strict=True):
        write_png(tmp_path / file, picture, b"")
    panel = Panel("a #1", before, after, np.zeros((700, 700), np.uint8), None, files)
    (page,) = write_pages(tmp_path, [panel], 1, "older", {})
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", CLICK + "</body>"), encoding="utf-8")
    html, console = opened(browser, page, tmp_path / "profile")
    assert console == []
    seen = reported(html)
    assert seen["open"]
    assert seen["widths"] == seen["shown"] == [700, 700]
    assert "30%" in seen["cut"]
