"""How a run goes on, in words. Apart from `running`, since `status` says it and runs nothing."""

from __future__ import annotations

from restaudit.evidence.record import Run

# How a run goes on that no `run` command writes, by what its policy.model begins with.
OTHER_WRITERS = {
    "trainer": (
        "a trainer writes this run: start the training script again and let it resume from "
        "its checkpoint"
    ),
    "watch": "`restaudit watch` writes this run: give the command again that began it",
}


def how_to_go_on(record: Run) -> str:
    """What to do so that this run goes on, as one line."""
    return other_writer(record) or f"go on with: restaudit resume {record.path}"


def other_writer(record: Run) -> str | None:
    """What writes this run, and how it goes on, in words; None where `restaudit resume` does."""
    if record.loop.method != "outside":
        return None
    policy = record.plan["config"].get("policy")
    model = str(policy.get("model")) if isinstance(policy, dict) else ""
    return OTHER_WRITERS.get(model.partition(":")[0], OTHER_WRITERS["trainer"])
