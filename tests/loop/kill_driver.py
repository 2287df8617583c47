"""Run or resume a run once for each `STEP:MOMENT`, each time in a process that kills itself there.

Moments: `inside`, `placed` or `torn`. What to do is read from standard input, a line of JSON at a
time: `{"folder", "run", "kills"}`; the answer to each is a line of JSON, what was not as asked. The
processes are forks of this one, which has imported what a run needs and has done nothing with it:
the import of torch is paid once, and every process starts a run from nothing all the same.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import peft  # noqa: F401
import torch  # noqa: F401
import transformers.models.llama.modeling_llama  # noqa: F401

import restaudit.loop.audit
import restaudit.loop.rest
import restaudit.people.rating
import restaudit.policy
import restaudit.reward  # noqa: F401
from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.evidence import ledger, steps
from restaudit.loop import running


def go(folder: Path, run: Path, step: str, moment: str) -> None:
    real_step, real_append = steps.Writer.step, steps.Writer._append

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def killed_inside(self, name, folder, make, **more):
        def make_and_die(out):
            content = make(out)
            kill()
            return content

        return real_step(self, name, folder, make_and_die if name == step else make, **more)

    def killed_at_append(self, name, *rest):
        if name == step and moment == "placed":
            kill()
        if name == step and moment == "torn":
            with (self.run / ledger.FILE).open("ab") as f:
                f.write(b'{"at":{"seconds":1')
            kill()
        real_append(self, name, *rest)

    if moment == "inside":
        steps.Writer.step = killed_inside
    else:
        steps.Writer._append = killed_at_append
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    if (run / "plan.json").exists():
        running.resume(run, Reporter(quiet=True))
    else:
        raw = json.loads((folder / "config.json").read_text())
        running.start(parse(raw), run, Reporter(quiet=True))


def wrong(folder: Path, run: Path, kills: list[str]) -> str:
    """What was not as asked, or nothing."""
    failed = folder / "failed.txt"
    for at in kills:
        child = os.fork()
        if not child:
            try:
                go(folder, run, *at.split(":"))
                failed.write_text("came past the moment it was to die at", encoding="utf-8")
            except BaseException:  # noqa: BLE001 -- the test shows it
                failed.write_text(traceback.format_exc(), encoding="utf-8")
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != -signal.SIGKILL:
            why = failed.read_text(encoding="utf-8") if failed.exists() else ""
            return f"{at}: exit {code}, not killed: {why}"
    return ""


def main() -> None:
    # Whatever else a run writes to standard output is not an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        found = wrong(Path(asked["folder"]), Path(asked["run"]), asked["kills"])
        answers.write(json.dumps(found) + "\n")
        answers.flush()


main()
