"""How a run that stopped goes on: by `restaudit resume`, or by whatever else writes it."""

from __future__ import annotations

from restaudit.evidence.record import Run

# By what policy.model begins with, for runs that no `run` command writes.
WRITERS = {
    "trainer": (
        "a trainer writes this run: start the training script again and let it resume from "
        "its checkpoint"
    ),
    "watch": "`restaudit watch` writes this run: give the command again that began it",
}


def writer_of(record: Run) -> str | None:
    """What writes this run, and how it goes on, in words; None where `restaudit resume` does."""
    config = record.plan["config"]
    if config["loop"].get("method") != "outside":
        return None
    return WRITERS[str(config["policy"]["model"]).partition(":")[0]]


def again(record: Run) -> str:
    """What to do so that this run goes on, as one line."""
    return writer_of(record) or f"go on with: restaudit resume {record.path}"
