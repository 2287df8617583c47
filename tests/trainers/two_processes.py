"""One of two processes that train together under an AuditCallback; started by test_processes.py
through torchrun.
"""

import json
import os
import sys
import warnings
from pathlib import Path

from restaudit.trainers import AuditCallback
from tests.trainers.test_callback import audit_raw, make_trainer


def main() -> None:
    policy, out, margin = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    warnings.simplefilter("ignore")
    callback = AuditCallback(audit_raw(policy, margin), out / "run", looks=2)
    trainer = make_trainer("sft", policy, out / "trainer", [callback])
    trainer.train()
    rank = os.environ["RANK"]
    said = {
        "step": trainer.state.global_step,
        "stopped": callback.stopped is not None,
        "processes": trainer.args.world_size,
    }
    (out / f"said-{rank}.json").write_text(json.dumps(said), encoding="utf-8")


main()
