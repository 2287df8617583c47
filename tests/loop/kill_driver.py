"""Run or resume a run once for each `STEP:MOMENT`, each time in a process that kills itself there.

Moments: `inside`, `placed` or `torn`. The processes are forks of this one, which has imported what
a run needs and has done nothing with it: the import of torch is paid once, and every process starts
a run from nothing all the same.
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


def go(raw: dict[str, object], run: Path, step: str, moment: str) -> None:
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
    if (run / "plan.json").exists():
        running.resume(run, Reporter(quiet=True))
    else:
        running.start(parse(raw), run, Reporter(quiet=True))


def main() -> None:
    raw, run = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    for at in sys.argv[3:]:
        child = os.fork()
        if not child:
            try:
                go(raw, run, *at.split(":"))
            finally:  # it came past the moment it was to die at, or failed before
                traceback.print_exc()
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != -signal.SIGKILL:
            raise SystemExit(f"{at}: exit {code}, not killed")


main()
