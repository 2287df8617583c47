"""Run or resume a run, and kill this process at a stated moment of a stated step: `inside`, `placed` or `torn`."""

import json
import os
import signal
import sys
from pathlib import Path

from restaudit import ledger, plan, steps
from restaudit.configure import parse
from restaudit.console import Reporter


def main() -> None:
    raw, run, step, moment = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
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
        plan.resume(run, Reporter(quiet=True))
    else:
        plan.start(parse(raw), run, Reporter(quiet=True))


main()
