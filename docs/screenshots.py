"""Take pictures of the site at the widths of a desktop and of a telephone, light and dark.

    make docs
    python docs/screenshots.py --output-dir out/screenshots
    python docs/screenshots.py --scorecard runs/fit/scorecard.html --output-dir out/screenshots

Needs Chromium. The site is served on this machine alone while the pictures are taken. `summary.json`
names pages that are wider than the screen.
"""

import functools
import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import tyro

PAGES = {
    "home": "",
    "gallery": "environments/",
    "environment": "environments/LightsOut-v0/",
    "results": "results/",
    "benchmarks": "benchmarks/",
    "leaderboard": "leaderboard/",
    "agent": "agent/",
    "reinforce": "reinforce/",
    "scorecard": "tutorials/read-a-scorecard/",
    "reference": "reference/wm_agents/",
}
"""Name of a picture -> page of the site."""

WIDTHS = (1440, 390)
HEIGHT = 1800
# How Blink calls what a system prefers.
SCHEMES = {"dark": 0, "light": 1}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--virtual-time-budget=5000",
)
# Headless Chromium has no window narrower than 500 pixels: a frame is as narrow as a telephone.
FRAME = """<!doctype html><meta charset="utf-8"><style>html,body{{margin:0;background:#888}}
iframe{{border:0;display:block;width:{width}px;height:{height}px}}</style>
<iframe id="page" src="{page}"></iframe><pre id="seen" hidden></pre><script>
const page=document.getElementById("page");page.addEventListener("load",()=>setTimeout(()=>{{
const root=page.contentDocument.documentElement;const wide=[...root.querySelectorAll("body *")].filter((e)=>{{
const box=e.getBoundingClientRect();if(box.right<={width}+1||box.width===0)return false;
for(let p=e.parentElement;p;p=p.parentElement){{const o=getComputedStyle(p).overflowX;
if(o!=="visible"&&p!==root&&p!==root.querySelector("body"))return false;}}
return getComputedStyle(e).position!=="fixed";}});
document.getElementById("seen").textContent=JSON.stringify({{width:root.scrollWidth,
wide:wide.slice(0,5).map((e)=>e.tagName.toLowerCase()+"."+e.className)}});}},1500));</script>"""


@dataclass(frozen=True)
class Config:
    """What to take pictures of."""

    site: Path = Path("site")
    """Folder that MkDocs built."""
    output_dir: Path = Path("out/screenshots")
    """Folder for the pictures and summary.json."""
    pages: tuple[str, ...] = tuple(PAGES)
    """Names of pages."""
    height: int = HEIGHT
    """Of the pictures, in pixels."""
    scorecard: Path | None = None
    """A scorecard.html, of which pictures are taken, too."""


class _QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address under which a folder is served on this machine."""
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def browse(browser: str, scheme: int, *arguments: str) -> str:
    """Run the browser, and give what it prints."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            *FLAGS,
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--user-data-dir={profile}",
            *arguments,
        ]
        run = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=120, check=True
        )
    return run.stdout


def main(config: Config) -> dict[str, Any]:
    """Take all pictures; returns the summary."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(
            f"no browser is installed: one of {', '.join(BROWSERS)} takes the pictures"
        )
    if not (config.site / "index.html").is_file():
        raise SystemExit(f"{config.site} holds no site: run `make docs` first")
    if unknown := sorted(set(config.pages) - set(PAGES)):
        raise SystemExit(f"no page {', '.join(unknown)}: there are {', '.join(PAGES)}")
    config.output_dir.mkdir(parents=True, exist_ok=True)
    summary: dict[str, Any] = {}
    # The frame must come from the server of the page, else it could not look into it.
    with tempfile.TemporaryDirectory() as copy:
        root = Path(copy) / "site"
        shutil.copytree(config.site, root)
        pages = {name: PAGES[name] for name in config.pages}
        if config.scorecard is not None:
            shutil.copy(config.scorecard, root / "scorecard.html")
            pages["scorecard_page"] = "scorecard.html"
        with served(root) as address:
            for name, page in pages.items():
                for width in WIDTHS:
                    frame = FRAME.format(width=width, height=config.height, page=f"/{page}")
                    (root / "frame.html").write_text(frame, encoding="utf-8")
                    summary |= _take(browser, f"{address}/frame.html", name, width, config)
    path = config.output_dir / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    too_wide = [picture for picture, seen in summary.items() if seen["width"] > seen["screen"]]
    print(f"{len(summary)} pictures in {config.output_dir}; wider than the screen: {too_wide}")
    return summary


def _take(browser: str, page: str, name: str, width: int, config: Config) -> dict[str, Any]:
    """Both pictures of a page at a width."""
    taken = {}
    for scheme, number in SCHEMES.items():
        picture = f"{name}_{width}_{scheme}.png"
        size = f"--window-size={max(width, 500)},{config.height}"
        target = config.output_dir.resolve() / picture
        browse(browser, number, size, f"--screenshot={target}", page)
        printed = browse(browser, number, size, "--dump-dom", page)
        found = re.search(r'<pre id="seen"[^>]*>(.*?)</pre>', printed, re.DOTALL)
        seen = json.loads(unescape(found[1]) or "{}") if found else {}
        taken[picture] = {"screen": width, "width": 0, **seen}
        if width < 500:
            _crop(target, width)
    return taken


def _crop(path: Path, width: int) -> None:
    from PIL.Image import open as open_picture

    with open_picture(path) as picture:
        picture.crop((0, 0, width, picture.height)).save(path, optimize=True)


if __name__ == "__main__":
    main(tyro.cli(Config))
