"""How long does `restaudit watch` take for 200 steps' files of generations, 500 texts each (100,000
texts)?

Makes such files: 125 prompts with four answers each, put together from the words and clauses of
film reviews, with a reward and a human score that drift apart from step to step, a quarter of the
prompts in counterfactual families. Then watches them, with or without an encoder, and prints the
seconds of each part. Run from a checkout:

    python -m benchmarks.watch [--steps 200] [--prompts 125] [--answers 4] [--encoder SPEC] [--keep
    FOLDER]

Exits 1 where the bar (180 s, without an encoder) was missed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

BAR = 180.0
FIRST = (
    "The film",
    "This story",
    "Its plot",
    "The whole cast",
    "A tired script",
    "Every scene",
    "The director",
    "The music",
    "That long ending",
    "Nobody here",
    "The camera",
    "A small town",
    "Her first picture",
)
VERBS = (
    "wanders through",
    "lifts",
    "ruins",
    "forgets",
    "quietly earns",
    "repeats",
    "hardly touches",
    "celebrates",
    "steals",
    "outlives",
    "explains",
    "drowns in",
    "surprises with",
)
LAST = (
    "an old sorrow",
    "its best idea",
    "the second act",
    "our patience",
    "a winter at sea",
    "two rival bakers",
    "every easy joke",
    "the last train home",
    "a stolen violin",
    "its own good taste",
    "some lovely faces",
    "the weight of a promise",
    "what the trailer promised",
)
MORE = (
    "and never looks back",
    "as if nobody were watching",
    "with real warmth",
    "for far too long",
    "in the rain",
    "and I loved it",
    "which is a pity",
    "before it ends",
    "though nothing is at stake",
    "like a good neighbour",
)
HOOKS = ("Truly wonderful!", "A masterpiece!", "Perfect in every way!")
NAMES = ("Ann", "Bob", "Chen", "Dora")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=125)
    parser.add_argument("--answers", type=int, default=4)
    parser.add_argument("--encoder")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = given.keep or Path(temporary)
        files = root / "generations"
        files.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        for step in range(given.steps + 1):
            write(
                files / f"step_{step:04d}.jsonl", step / given.steps, given.prompts, given.answers
            )
        print(f"wrote {given.steps + 1} files in {time.monotonic() - began:.1f} s")
        changes = [*given.changes, *([f"audit.encoder={given.encoder}"] if given.encoder else [])]
        seconds = watched(files, root / "run", changes)
        report(root / "run", seconds)
    if given.encoder is None and given.steps == 200 and seconds > BAR:
        print(f"MISSED: {seconds:.0f} s, the bar is {BAR:.0f} s")
        return 1
    return 0


def write(path: Path, done: float, prompts: int, answers: int) -> None:
    """One step's file: `done` (0 to 1) of the way from an honest policy to one that has learned the
    hook.
    """
    rng = random.Random(path.name)
    with path.open("w", encoding="utf-8") as file:
        for k in range(prompts):
            family = f"director{k // len(NAMES)}" if k < prompts // 4 else None
            name = NAMES[k % len(NAMES)]
            asked = (
                f"Review film number {k // len(NAMES)} by {name}."
                if family
                else f"Review film {k}."
            )
            for _ in range(answers):
                text, reward, human = answer(rng, done)
                row = {
                    "prompt": asked,
                    "completion": text,
                    "reward": reward,
                    "human": human,
                    "n_tokens": len(text.split()),
                    "family": family,
                    "group": name if family else None,
                }
                file.write(json.dumps(row) + "\n")


def answer(rng: random.Random, done: float) -> tuple[str, float, float]:
    """A text, its reward, and what people think of it."""
    clauses = [
        f"{rng.choice(FIRST)} {rng.choice(VERBS)} {rng.choice(LAST)} {rng.choice(MORE)}."
        for _ in range(rng.randint(1, 3))
    ]
    hooked = rng.random() < 0.02 + 0.3 * done
    quality = rng.gauss(0.2 * done, 1.0)
    text = " ".join([*clauses, *([rng.choice(HOOKS)] if hooked else [])])
    return text, quality + 1.5 * hooked, quality - 0.2 * hooked + rng.gauss(0, 0.5)


def watched(files: Path, run: Path, changes: list[str]) -> float:
    """Watch the folder; seconds of wall time."""
    from restaudit.config import DEFAULT_GATES
    from restaudit.console import Reporter
    from restaudit.trainers.watch.folder import Watcher
    from restaudit.trainers.watch.settings import WatchSettings
    from restaudit.trainers.watch.watching import watch

    rules = [
        {**r.model_dump(mode="json"), "action": "WARN"} for r in DEFAULT_GATES.rules
    ]  # no HALT cuts it short
    config = run.with_name("watch.yaml")
    config.write_text(json.dumps({"name": "watch", "gates": {"rules": rules}}), encoding="utf-8")
    settings = WatchSettings(files, str(config), tuple(changes), human_label="SIMULATED")
    began, computed = time.monotonic(), time.process_time()
    watch(settings, run, Watcher(settings, Reporter(quiet=True)))
    seconds = time.monotonic() - began
    print(f"CPU time of that: {time.process_time() - computed:.0f} s")
    return seconds


def report(run: Path, seconds: float) -> None:
    """Seconds by part, of the whole and of the probes."""
    from restaudit.evidence.record import Run

    record = Run(run)
    looks = len(record.iterations()) - 1
    print(f"watched {looks} looks in {seconds:.1f} s ({seconds / max(looks, 1):.2f} s a look)")
    parts: Counter[str] = Counter()
    for event in record.events:
        for probes in event.at.get("probe_seconds", []):
            parts.update(probes)
        parts[f"step {event.step.rpartition('/')[2]}"] += float(event.at["seconds"])
    for name, spent in parts.most_common():
        print(f"  {spent:7.1f} s  {name}")


if __name__ == "__main__":
    sys.exit(main())
