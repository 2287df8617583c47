"""A new user's walk through the app, in a real browser: from the list of runs to a verified bundle.

    python tools/walk.py RUN [--texts 20] [--pictures FOLDER] [--patience SECONDS]

Works on a copy of RUN (one that `restaudit demo --small` made, say): opens it from the list, reads
the verdict, rates texts by keyboard, sees the human score with its interval, downloads the PDF and
the bundle, and has the bundle checked. Prints each step with its seconds; ends with code 1, and a
picture where --pictures says so, at the first thing that is not there. Needs Debian's chromium and
the PyPI package `playwright`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 60.0
# A key that comes sooner after the text than anybody can read it is not counted.
READING = 700
SETTLED = "[data-testid=stApp][data-test-script-state=notRunning]"
RATER = "walker"


class Walk:
    """One tab; every method is something a person does, and waits until they would see that it
    worked.
    """

    def __init__(self, tab: Any, address: str, patience: float = PATIENCE) -> None:
        self.tab, self.address, self.patience = tab, address, 1000 * patience
        self.errors: list[str] = []
        tab.on("pageerror", lambda e: self.errors.append(str(e)))

    def see(self, text: str | re.Pattern[str]) -> Any:
        """Wait until this text is there."""
        found = self.tab.get_by_text(text).first
        found.wait_for(timeout=self.patience)
        return found

    def settle(self) -> None:
        """Wait until the page is drawn and says nothing of an exception."""
        self.tab.wait_for_selector(SETTLED, timeout=self.patience)
        self.tab.wait_for_timeout(300)
        if self.tab.locator("[data-testid=stException]").count() or self.errors:
            raise AssertionError(f"the page shows an exception: {self.errors}")

    def page(self, title: str) -> None:
        """To a page by the list at the side."""
        self.tab.locator("[data-testid=stSidebarNavLink]").filter(has_text=title).first.click()
        self.tab.get_by_role("heading", level=1, name=title).wait_for(timeout=self.patience)
        self.settle()

    def press(self, name: str | re.Pattern[str]) -> None:
        """Press a button."""
        self.tab.get_by_role("button", name=name).first.click()
        self.settle()

    def choose(self, name: str) -> None:
        """Choose one of a few views."""
        self.tab.get_by_text(name, exact=True).first.click()
        self.settle()

    def take(self, name: re.Pattern[str], to: Path) -> bytes:
        """Download a file."""
        button = self.tab.get_by_role("button", name=name).first
        button.wait_for(timeout=self.patience)
        with self.tab.expect_download(timeout=self.patience) as coming:
            button.click()
        coming.value.save_as(to)
        return to.read_bytes()

    # --- the steps

    def opens_the_run(self) -> None:
        """The list of runs shows it; its Open button leads to the Overview."""
        self.tab.goto(self.address)
        self.tab.get_by_role("heading", level=1, name="Runs").wait_for(timeout=self.patience)
        self.settle()
        table = self.tab.locator("[data-testid=stDataFrame] canvas").first
        table.wait_for(timeout=self.patience)
        # The table is a picture: its first column holds the boxes to tick, the second the buttons.
        at = table.bounding_box()
        self.tab.mouse.click(at["x"] + 70, at["y"] + 53)
        self.tab.get_by_role("heading", level=1, name="Overview").wait_for(timeout=self.patience)
        self.settle()

    def reads_the_verdict(self) -> None:
        """Decisions as words, whose judgement the human score is, and the picture."""
        self.see("Decisions")
        self.see(re.compile("OK|WARN|HALT|INCONCLUSIVE"))
        self.see(re.compile("^Human score: "))
        self.tab.locator(
            "[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg"
        ).first.wait_for()

    def rates(self, texts: int) -> None:
        """A set is drawn, the instructions are read, and texts are rated by keyboard."""
        self.page("Rate")
        self.press("Draw the texts")
        name = self.tab.get_by_role("textbox", name="Your rater name")
        if not name.is_visible():
            self.tab.get_by_text("Who rates, and which set").click()
        name.fill(RATER)
        self.tab.keyboard.press("Enter")
        self.settle()
        self.press("I have read this, begin")
        for k in range(texts):
            self.tab.wait_for_timeout(READING)
            self.tab.keyboard.press(str(1 + k % 7))
            self.see(re.compile(f"^{k + 1} of [0-9]+ rated"))
            self.settle()

    def sees_the_score(self) -> None:
        """Handed in, the human score of people stands there with its interval, and on the
        Divergence page too.
        """
        self.press("Results")
        self.press("Hand in and show the results")
        self.see("What people said")
        self.see(re.compile("95% interval -?[0-9.]+ to -?[0-9.]+"))

    def sees_it_beside_the_reward(self) -> None:
        """The Divergence page has it too, apart from the run's own human score."""
        self.page("Divergence")
        self.see("Rated by people after the run").scroll_into_view_if_needed()
        self.see(re.compile("95% interval -?[0-9.]+ to -?[0-9.]+"))

    def takes_the_report(self, folder: Path) -> None:
        """The PDF is prepared and downloaded."""
        self.page("Reports and exports")
        self.choose("PDF")
        self.press("Prepare")
        data = self.take(re.compile("^Download .*pdf"), folder / "report.pdf")
        if not data.startswith(b"%PDF-"):
            raise AssertionError("what was downloaded is no PDF")

    def takes_the_bundle(self, folder: Path) -> None:
        """The bundle is prepared and downloaded."""
        self.choose("Bundle")
        self.press("Prepare")
        if not self.take(re.compile("^Download the bundle"), folder / "bundle.zip").startswith(
            b"PK"
        ):
            raise AssertionError("what was downloaded is no ZIP")

    def has_it_verified(self, folder: Path) -> None:
        """The bundle is uploaded on the Verify page, and everything in it is as recorded."""
        self.page("Verify")
        self.choose("A bundle")
        self.tab.locator("input[type=file]").first.set_input_files(folder / "bundle.zip")
        self.settle()
        self.press("Check the bundle")
        self.see("Everything that was checked is as recorded")
        self.settle()


def steps(walk: Walk, texts: int, folder: Path) -> list[tuple[str, Callable[[], None]]]:
    """The walk in order."""
    return [
        ("open the run from the list", walk.opens_the_run),
        ("read the verdict", walk.reads_the_verdict),
        (f"rate {texts} texts by keyboard", lambda: walk.rates(texts)),
        ("see the human score with its interval", walk.sees_the_score),
        ("find it on the Divergence page", walk.sees_it_beside_the_reward),
        ("prepare and download the PDF", lambda: walk.takes_the_report(folder)),
        ("prepare and download the bundle", lambda: walk.takes_the_bundle(folder)),
        ("upload the bundle and have it verified", lambda: walk.has_it_verified(folder)),
    ]


@contextmanager
def served(runs: Path) -> Iterator[str]:
    """`restaudit ui` on a folder; its address once it answers."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "restaudit.commands.cli", "ui", str(runs), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            raise SystemExit("the app did not start within a minute")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(15)


def main() -> int:
    """Walk, and say how far it went."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--pictures", type=Path, help="a picture after each step")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help="seconds to wait for each thing"
    )
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("no Chromium here: apt-get install -y chromium", file=sys.stderr)
        return 2
    from playwright.sync_api import Error, sync_playwright

    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as p:
        runs = Path(temporary) / "runs"
        # What people rated, declared or rendered in the original is not a new user's.
        beside = shutil.ignore_patterns("human", "writer.json")
        shutil.copytree(args.run, runs / args.run.resolve().name, ignore=beside)
        browser = p.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        tab = browser.new_context(
            viewport={"width": 1280, "height": 800}, accept_downloads=True
        ).new_page()
        with served(runs) as address:
            walk = Walk(tab, address, args.patience)
            for number, (what, step) in enumerate(
                steps(walk, args.texts, Path(temporary)), start=1
            ):
                began = time.perf_counter()
                try:
                    step()
                except (AssertionError, Error) as e:
                    print(f"{number}. {what}: NOT DONE: {e}", file=sys.stderr)
                    _picture(tab, args.pictures, number)
                    return 1
                print(f"{number}. {what}: {time.perf_counter() - began:.1f} s", flush=True)
                _picture(tab, args.pictures, number)
        browser.close()
    return 0


def _picture(tab: Any, folder: Path | None, number: int) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=str(folder / f"walk-{number}.png"))


if __name__ == "__main__":
    sys.exit(main())
