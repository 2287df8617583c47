"""Which recorded files every step read.

The ledger has what a step wrote; what it read follows from the program.
"""

from __future__ import annotations

from collections.abc import Mapping

from reports.exports.facts import PLAN, Data, RunFacts
from reports.record.lineage import BASE_MODEL
from restaudit.evidence.ledger import Event
from restaudit.evidence.record import BASE

RULE = (
    "What a step read follows from the program's rules for its name; the ledger records what "
    "it wrote."
)
REWARD = "reward_model/"
TAKEN = {"plan": "prompts", "reward_model": "judgements"}
# Steps whose policy is a network that runs: they need the base model too.
RUNNING = ("bc", "scale", "grow", "improve", "train", "audit", "samples")


def reads(facts: RunFacts) -> Mapping[str, tuple[str, ...]]:
    """Step -> the files that were recorded before it and that it read, in alphabetical order."""
    by_step: dict[str, tuple[str, ...]] = {}
    before: dict[str, None] = {}
    for event in facts.run.events:
        wanted = {name for name in before if _wanted(facts, event, name)}
        by_step[event.step] = tuple(sorted(wanted))
        before |= dict.fromkeys((*event.outputs, *event.context))
    return by_step


def models_read(facts: RunFacts, event: Event) -> tuple[str, ...]:
    """Roles of the models from elsewhere that a step used."""
    part = event.step.rpartition("/")[2]
    roles = [m.role for m in facts.models]
    wanted = {BASE_MODEL} if part in RUNNING else set()
    if part in ("reward_model", "scale", "score", "refit", "improve", "train", "audit", "samples"):
        wanted.add("reward.encoder")
    if part == "audit":
        wanted |= {r for r in roles if r.startswith("audit.")}
    if part in ("human_score", "score", "audit"):
        wanted.add("human.encoder")
    return tuple(r for r in roles if r in wanted)


def data_read(facts: RunFacts, event: Event) -> tuple[Data, ...]:
    """Data from elsewhere that a step read."""
    kind = "held-out text" if event.step.endswith("/audit") else TAKEN.get(event.step)
    return tuple(d for d in facts.data if d.spec is not None and d.kind == kind)


def policy_of(event: Event) -> str | None:
    """The policy whose weights a step took up, or None."""
    name = event.content.get("start") or event.content.get("policy")
    if name is not None:
        return str(name)
    # Scaling scores what the base policy samples, and does not say so.
    return BASE if event.step == "scale" else None


def _wanted(facts: RunFacts, event: Event, name: str) -> bool:
    iteration, _, part = event.step.rpartition("/")
    grow = iteration.split("/")[0]
    if name == PLAN:
        return True
    policy = policy_of(event)
    weights = next((p.weights for p in facts.policies if p.name == policy), {})
    if name in weights:
        return part in (*RUNNING, "refit")
    if part in ("scale", "score", "improve", "train", "audit", "samples") and _of_the_reward(
        facts, name, grow
    ):
        return True
    split = {
        "bc": "grow",
        "scale": "d_eval",
        "grow": "grow",
        "score": "grow",
        "train": "grow",
        "improve": "d_eval",
        "audit": "audit",
        "samples": "audit",
    }.get(part)
    if name == f"data/{split}.parquet":
        return True
    exact = {
        "score": {f"{grow}/samples.parquet"},
        "improve": {f"{grow}/grow.parquet", f"{policy}/d_eval.parquet"},
        "wait": {f"{iteration}/audit.parquet", f"{policy}/d_eval.parquet"},
        "audit": {
            f"{grow}/grow.parquet",
            f"{iteration}/kept.parquet",
            f"{policy}/d_eval.parquet",
            f"{BASE}/audit.parquet",
            f"{BASE}/d_eval.parquet",
            f"{BASE}/items.parquet",
            f"{BASE}/human_text.parquet",
            f"{iteration}/audit.parquet",
            f"{iteration}/asked.parquet",
        },
        "refit": {f"{grow}/refit_asked.parquet"},
        "halt": {f"{iteration}/decision.json"},
        "override": {f"{iteration}/decision.json"},
    }
    if part in ("score", "audit") and name.startswith("human_score/"):
        return True
    return name in exact.get(part, set())


def _of_the_reward(facts: RunFacts, name: str, grow: str) -> bool:
    if not name.startswith(REWARD):
        return False
    reward = facts.reward_for(grow)
    return name == f"{REWARD}scale.json" or (reward is not None and name in reward.files)
