"""A headless Chromium that looks at a page as a phone does, and says where things are.

Without Chromium a test is skipped; with WATCHFLOOR_REQUIRE_CHROMIUM=1 it fails.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

import pytest

PHONE = (390, 844)
# In a frame, since a window of Chromium's has at least 500 pixels; to the page its frame is the window.
_FRAME = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe width="{width}" height="{height}" style="border:0" srcdoc="{page}"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const view = frame.contentWindow, page = frame.contentDocument, root = page.documentElement;
  const boxes = [...page.querySelectorAll("body *")].filter(e => e.getClientRects().length);
  const rows = [...page.querySelectorAll(".header, .section, .context, .actions, pre")].map(e => {{
    const box = e.getBoundingClientRect();
    return {{text: e.innerText.slice(0, 80), top: box.top, bottom: box.bottom}};
  }});
  const scrolls = e => e.clientWidth && e.scrollWidth > e.clientWidth
    && !["visible", "clip"].includes(view.getComputedStyle(e).overflowX);
  document.title = JSON.stringify({{width: view.innerWidth, scroll_width: root.scrollWidth,
    right: Math.max(...boxes.map(e => e.getBoundingClientRect().right)),
    inner: boxes.filter(scrolls).map(e => e.className || e.tagName), rows}});
}};
</script>"""


@dataclass(frozen=True)
class Look:
    """What a page measures, in CSS pixels.

    Attributes
    ----------
    width, scroll_width
        Of the window, and of all that could be scrolled to.
    right
        The rightmost edge of anything.
    inner
        Elements that scroll sideways by themselves.
    rows
        `{text, top, bottom}` of each block.
    """

    width: int
    scroll_width: int
    right: float
    inner: list[str]
    rows: list[dict[str, float | str]]

    def bottom_of(self, words: str) -> float:
        return next(float(row["bottom"]) for row in self.rows if words in str(row["text"]))


def look(page: str, folder: Path, size: tuple[int, int] = PHONE) -> Look:
    """Show an HTML page in a window of this size, and measure it."""
    html = folder / "page.html"
    framed = _FRAME.format(width=size[0], height=size[1], page=escape(page))
    html.write_text(framed, encoding="utf-8")
    dump = run_chromium(folder, size, "--dump-dom", html.as_uri())
    found = re.search(r"<title>(\{.*?\})</title>", dump, re.DOTALL)
    assert found, dump[:2_000]
    return Look(**json.loads(unescape(found[1])))


def picture(page: str, folder: Path, out: Path, size: tuple[int, int] = PHONE) -> Path:
    """Show an HTML page in a window of this size, and take a picture (PNG)."""
    html = folder / "page.html"
    html.write_text(page, encoding="utf-8")
    run_chromium(folder, size, f"--screenshot={out}", html.as_uri())
    return out


def run_chromium(folder: Path, size: tuple[int, int], *arguments: str) -> str:
    """What it prints."""
    command = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not command:
        if os.environ.get("WATCHFLOOR_REQUIRE_CHROMIUM") == "1":
            pytest.fail("Chromium is required, and not on PATH")
        pytest.skip("no Chromium on PATH")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-background-networking",
        f"--user-data-dir={folder / 'chromium'}",
        f"--window-size={size[0]},{size[1]}",
    ]
    done = subprocess.run([command, *options, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout
