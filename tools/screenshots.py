"""A picture of every page of the app, in light and dark, for the documentation: make pictures.

    python tools/screenshots.py RUNS_DIR RUN [--out docs/images] [--only run,bias]

Starts the app on RUNS_DIR and opens it in Chromium (Debian's `chromium`, and the PyPI package
`playwright`).
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from reports.viewer.pages import PAGES


def main() -> int:
    """Take the pictures and print where they are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("run")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", default="", help="names of pages, with commas between")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--schemes", default="light,dark")
    parser.add_argument(
        "--full", action="store_true", help="the whole page and not the first screen"
    )
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.stderr.write("no Chromium here: apt-get install -y chromium\n")
        return 2
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "restaudit.commands.cli",
        "ui",
        str(args.runs),
        "--port",
        str(port),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        _pictures(port, chromium, args)
    finally:
        server.terminate()
        server.wait(15)
    return 0


def _wait(port: int) -> None:
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.25)
    raise SystemExit("the app did not start")


def _pictures(port: int, chromium: str, args: argparse.Namespace) -> None:
    from playwright.sync_api import sync_playwright

    wanted = [w for w in args.only.split(",") if w]
    with sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        for scheme in args.schemes.split(","):
            context = browser.new_context(
                viewport={"width": args.width, "height": args.height},
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            tab = context.new_page()
            for page in PAGES:
                name = page.file.removesuffix(".py")
                if wanted and name not in wanted:
                    continue
                path = "" if page is PAGES[0] else name
                tab.goto(
                    f"http://127.0.0.1:{port}/{path}" + (f"?run={args.run}" if page.of_run else "")
                )
                tab.wait_for_selector(
                    "[data-testid=stApp][data-test-script-state=notRunning]", timeout=90_000
                )
                tab.wait_for_timeout(1500)
                out = args.out / f"app-{name}-{scheme}.png"
                out.parent.mkdir(parents=True, exist_ok=True)
                if args.full:
                    tall = tab.evaluate(
                        "document.querySelector('[data-testid=stMain]').scrollHeight"
                    )
                    tab.set_viewport_size(
                        {"width": args.width, "height": min(int(tall) + 20, 6000)}
                    )
                    tab.wait_for_timeout(1200)
                tab.screenshot(path=str(out))
                tab.set_viewport_size({"width": args.width, "height": args.height})
                sys.stdout.write(f"{out}\n")
            context.close()
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
