"""How fast is the app, and how much memory does its server take?

Page by page, in a real browser, on runs of any size.

Fabricates a run of 100,000 samples (20 Grow sets) and one whose only Grow set has 1,000,000 rows,
starts `restaudit ui` on each, and goes through every page in Chromium: once for the first time,
then again several times (the median counts). A page is there when its title stands, its script has
ended, and every chart and table of it is drawn. Beside wall time stand the CPU seconds of the
server, which other work on the machine does not change much. First paint is the browser's own First
Contentful Paint (W3C Paint Timing); how long it takes until the list of runs stands is printed
after it, and beside both what an empty page of Streamlit takes. Run from a checkout with Debian's
chromium:

    python -m benchmarks.app_pages [--samples 100000] [--large 1000000] [--rounds 5] [--keep FOLDER]
    [--run RUN]

Exits 1 where a bar was missed. `--run` measures a run that is there instead; `--large 0` leaves the
large one out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.large_run import GROWS
from reports.viewer.pages import PAGES, Page

FIRST_PAINT, PAGE_CHANGE, WHY, MEMORY = 2.0, 1.0, 2.0, 1024
UI = ("restaudit.commands.cli", "ui", "{runs}", "--port", "{port}")
PATIENCE, QUIET = 180_000, 0.05
PAINT = "performance.getEntriesByName('first-contentful-paint')"
# The title stands, the script has ended, and what is drawn after it (charts and tables in sight) is
# drawn.
DRAWN = """(title) => {
  const app = document.querySelector('[data-testid=stApp]'), head = document.querySelector('h1');
  const all = (what, part) => [...document.querySelectorAll(what)].filter(e => e.checkVisibility())
    .every(e => e.querySelector(part));
  return app && app.dataset.testScriptState === 'notRunning' && head && head.innerText.trim() === title
    && !document.querySelector('[data-testid=stSkeleton]')
    && all('[data-testid=stVegaLiteChart]', 'canvas, svg') && all('[data-testid=stDataFrame]', 'canvas');
}"""


@dataclass
class Server:
    """The app on a folder of runs: one process, watched through /proc."""

    process: subprocess.Popen[bytes]
    address: str

    def cpu(self) -> float:
        """CPU seconds of the process so far, all threads, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def mib(self, what: str) -> float:
        """Resident memory now (VmRSS) or at most (VmHWM), in MiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


@dataclass
class Table:
    """Rows as they are measured, and whether all of them kept to their bars."""

    missed: list[str] = field(default_factory=list)

    def title(self, text: str) -> None:
        print(
            f"\n{text}\n{'':<60} {'wall ms':>8} {'CPU ms':>7} {'again':>6} {'CPU':>5}  {'bar':>6} "
            " kept"
        )

    def row(
        self,
        what: str,
        first: tuple[float, float],
        again: tuple[float, float] | None,
        bar: float | None,
    ) -> None:
        worst = max(first[0], again[0] if again else 0.0)
        rest = f"{1000 * again[0]:>6.0f} {1000 * again[1]:>5.0f}" if again else f"{'':>6} {'':>5}"
        told = f"{1000 * bar:>6.0f}  {self._kept(what, worst < bar)}" if bar else f"{'':>6}"
        print(
            f"{what:<60} {1000 * first[0]:>8.0f} {1000 * first[1]:>7.0f} {rest}  {told}", flush=True
        )

    def memory(self, what: str, server: Server) -> None:
        now, most = server.mib("VmRSS"), server.mib("VmHWM")
        print(
            f"{what}: {now:.0f} MiB resident, {most:.0f} at most; bar {MEMORY}: "
            f"{self._kept(what, most < MEMORY)}"
        )

    def _kept(self, what: str, kept: bool) -> str:
        if not kept:
            self.missed.append(what)
        return "yes" if kept else "NO"


def measured(server: Server, act: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of the server while something is done."""
    cpu, began = server.cpu(), time.perf_counter()
    act()
    wall = time.perf_counter() - began
    return wall, server.cpu() - cpu


@contextmanager
def serving(runs: Path, command: Sequence[str] = UI) -> Iterator[Server]:
    """`restaudit ui` on a folder; the process has just been started, and answers a little later."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    words = [w.format(runs=runs, port=port) for w in command]
    process = subprocess.Popen(
        [sys.executable, "-m", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield Server(process, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(15)


def wait_ready(server: Server) -> None:
    """Until it answers."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{server.address}/_stcore/health", timeout=2):
                return
        except OSError:
            if server.process.poll() is not None:
                raise SystemExit("the app ended at once") from None
            time.sleep(0.01)
    raise SystemExit("the app did not start within a minute")


def drawn(tab: Any, title: str) -> None:
    """Until a page is there."""
    tab.wait_for_function(DRAWN, arg=title, polling="raf", timeout=PATIENCE)


def go(tab: Any, page: Page) -> None:
    """To another page by the list at the side, as a reader goes."""
    tab.locator("[data-testid=stSidebarNavLink]").filter(has_text=page.title).first.click()
    drawn(tab, page.title)


def wait_quiet(server: Server) -> None:
    """Until the server has imported what pages need, as while a reader looks at the first one."""
    time.sleep(3)
    until, before = time.monotonic() + 60, -1.0
    while server.cpu() - before > QUIET and time.monotonic() < until:
        before = server.cpu()
        time.sleep(0.5)


def first_paint(browser: Any, runs: Path, table: Table) -> None:
    """From the command to the list of runs in a browser that never saw the app; beside it, an empty
    Streamlit page.
    """
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(f"import streamlit as st\nst.title({PAGES[0].title!r})\n")
        bare = (
            "streamlit",
            "run",
            str(empty),
            "--server.port={port}",
            "--server.headless=true",
            "--browser.gatherUsageStats=false",
        )
        for what, command in (("", None), (", empty Streamlit page", bare)):
            tab, fresh = (
                browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
                for _ in "ab"
            )
            began = time.perf_counter()
            with serving(runs, command) if command else serving(runs) as server:
                wait_ready(server)
                ready = time.perf_counter() - began, server.cpu()
                _open(tab, server.address)
                whole = time.perf_counter() - began, server.cpu()
                wait_quiet(server)
                again = measured(server, partial(_open, fresh, server.address))
                cold, warm = ready[0] + _paint(tab), _paint(fresh)
            bar = None if command else FIRST_PAINT
            table.row(f"first paint, from the command{what}", (cold, ready[1]), None, None)
            table.row(f"first paint, a server that runs{what}", (warm, 0.0), None, bar)
            table.row(f"the list stands, from the command{what}", whole, None, None)
            table.row(f"the list stands, a server that runs{what}", again, None, None)
            tab.context.close()
            fresh.context.close()


def _paint(tab: Any) -> float:
    """Seconds from the navigation to the browser's First Contentful Paint."""
    tab.wait_for_function(f"{PAINT}.length", timeout=PATIENCE)
    return float(tab.evaluate(f"{PAINT}[0].startTime")) / 1000


def _open(tab: Any, address: str) -> None:
    tab.bring_to_front()  # what nobody sees is not painted
    tab.goto(address)
    drawn(tab, PAGES[0].title)


def every_page(browser: Any, run: Path, rounds: int, table: Table) -> None:
    """Each page for the first time, then again after another page."""
    tab = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    with serving(run.parent) as server:
        wait_ready(server)
        tab.goto(f"{server.address}/run?run={run.name}")
        drawn(tab, "Overview")
        go(tab, PAGES[0])
        wait_quiet(server)
        first = {
            page.file: measured(server, lambda page=page: go(tab, page))
            for page in (*PAGES[1:], PAGES[0])
        }
        again: dict[str, list[tuple[float, float]]] = {page.file: [] for page in PAGES}
        for _ in range(rounds):
            for page in (*PAGES[1:], PAGES[0]):
                again[page.file].append(measured(server, lambda page=page: go(tab, page)))
        for page in PAGES:
            walls, cpus = zip(*again[page.file], strict=True)
            both = statistics.median(walls), statistics.median(cpus)
            table.row(page.title, first[page.file], both, PAGE_CHANGE)
        table.memory("server after every page", server)
    tab.context.close()


def large_samples(browser: Any, run: Path, table: Table) -> None:
    """The Samples page on the run's first Grow set: opened, searched, sorted, and asked why a row
    was trained on.
    """
    tab = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    with serving(run.parent) as server:
        wait_ready(server)
        tab.goto(f"{server.address}/run?run={run.name}")
        drawn(tab, "Overview")
        wait_quiet(server)
        samples = next(p for p in PAGES if p.file == "samples.py")
        table.row(
            "Samples, the last audit", measured(server, lambda: go(tab, samples)), None, PAGE_CHANGE
        )
        steps: list[tuple[str, Callable[[], None], float]] = [
            (
                "… the Grow set, for the first time",
                lambda: _pick(tab, "Where", "G1 Grow set", "where=g01"),
                PAGE_CHANGE,
            ),
            ("… why is this row here?", lambda: _why(tab), WHY),
            ("… page 2", lambda: _page(tab), PAGE_CHANGE),
            (
                "… highest reward first",
                lambda: _pick(tab, "Order", "highest reward", "sort=-reward|highest"),
                WHY,
            ),
            ("… search in every text", lambda: _search(tab, "ab"), WHY),
        ]
        for what, act, bar in steps:
            table.row(what, measured(server, act), None, bar)
        for page in PAGES:
            go(tab, page)
        table.memory("server after every page", server)
    tab.context.close()


def _pick(tab: Any, label: str, value: str, address: str) -> None:
    """Choose from a list, and wait until the address and the page have it."""
    tab.get_by_role("combobox", name=label).first.click()
    tab.get_by_role("option", name=value).first.click()
    tab.wait_for_url(re.compile(address), timeout=PATIENCE)
    drawn(tab, "Samples")


def _why(tab: Any) -> None:
    tab.get_by_role("button", name=re.compile("Why (left out|trained on)")).first.click()
    tab.get_by_text("against τ").first.wait_for(timeout=PATIENCE)
    drawn(tab, "Samples")


def _page(tab: Any) -> None:
    tab.get_by_role("button", name="Next page").first.click()
    tab.wait_for_url(re.compile("page=2"), timeout=PATIENCE)
    drawn(tab, "Samples")


def _search(tab: Any, text: str) -> None:
    box = tab.get_by_label("Search in the texts").first
    box.fill(text)
    box.press("Enter")
    tab.get_by_text(re.compile(f"samples: with “{text}” in the text")).first.wait_for(
        timeout=PATIENCE
    )
    drawn(tab, "Samples")


def build(folder: Path, samples: int, grows: int) -> Path:
    """A run of that size in a folder of its own, made by another process; one that is there is
    taken as it is.
    """
    run = folder / f"runs-{samples}-{grows}" / f"large-{samples}"
    if not run.exists():
        code = (
            "from benchmarks.large_run import build; from pathlib import Path; "
            f"build(Path({str(run)!r}), {samples}, {grows})"
        )
        root = Path(__file__).resolve().parents[1]
        subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
    return run


def main() -> int:
    """Build, measure, print; 1 where a bar was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="build the runs here and leave them")
    parser.add_argument(
        "--run", type=Path, help="a run that is there, in the place of the fabricated ones"
    )
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("no Chromium here: apt-get install -y chromium", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    table = Table()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as p:
        folder = (args.keep or Path(temporary)).resolve()
        run = args.run.resolve() if args.run else build(folder, args.samples, GROWS)
        large = build(folder, args.large, 1) if args.large and not args.run else None
        browser = p.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        table.title(f"{run.name}: from the command to the first page")
        first_paint(browser, run.parent, table)
        table.title(
            f"{run.name}: to each page by the list at the side, first and median of {args.rounds} "
            "more"
        )
        every_page(browser, run, args.rounds, table)
        if large is not None:
            table.title(f"{large.name}, one Grow set: the Samples page")
            large_samples(browser, large, table)
        browser.close()
    print(f"\nmissed: {', '.join(table.missed) or 'none'}")
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
