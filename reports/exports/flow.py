"""Which recorded files every step read.

The ledger has what a step wrote; what it read follows from the program.
"""

from __future__ import annotations

from collections.abc import Mapping

from reports.exports.facts import PLAN, Data, RunFacts
from reports.record.lineage import BASE_MODEL
from restaudit.evidence.ledger import Event
from restaudit.evidence.record import BASE
from restaudit.people.waiting import stage_of

RULE = (
    "What a step read follows from the program's rules for its name; the ledger records what "
    "it wrote."
)
REWARD = "reward_model/"
TAKEN = {"plan": "prompts", "reward_model": "judgements"}
# Steps whose policy is a network that runs: they need the base model too.
RUNNING = ("bc", "scale", "grow", "improve", "train", "audit", "samples")
# Steps that give rewards to samples, by the reward model of their Grow step.
SCORING = ("scale", "score", "improve", "train", "audit", "samples")
# Which split of the prompts a step draws from: none is both trained on and judged by.
SPLITS_READ = {
    "bc": "grow",
    "scale": "d_eval",
    "grow": "grow",
    "score": "grow",
    "train": "grow",
    "improve": "d_eval",
    "audit": "audit",
    "samples": "audit",
}


def reads(facts: RunFacts) -> Mapping[str, tuple[str, ...]]:
    """Step -> the files that were recorded before it and that it read, in alphabetical order."""
    by_step: dict[str, tuple[str, ...]] = {}
    before: dict[str, None] = {}
    for event in facts.run.events:
        wanted = {name for name in before if _wanted(facts, event, name)}
        by_step[event.step] = tuple(sorted(wanted))
        # After the look-up: a step cannot have read what it wrote itself.
        before |= dict.fromkeys((*event.outputs, *event.context))
    return by_step


def models_read(facts: RunFacts, event: Event) -> tuple[str, ...]:
    """Roles of the models from elsewhere that a step used."""
    part = event.step.rpartition("/")[2]
    roles = [m.role for m in facts.models]
    wanted = {BASE_MODEL} if part in RUNNING else set()
    if part in (*SCORING, "reward_model", "refit"):
        wanted.add("reward.encoder")
    if part == "audit":
        wanted |= {r for r in roles if r.startswith("audit.")}
    if part in ("human_score", "score", "audit"):
        wanted.add("human.encoder")
    return tuple(r for r in roles if r in wanted)


def data_read(facts: RunFacts, event: Event) -> tuple[Data, ...]:
    """Data from elsewhere that a step read."""
    kind = TAKEN.get(event.step)
    # Drift from human text is measured against it at every look.
    if event.step.endswith("/audit"):
        kind = "held-out text"
    return tuple(data for data in facts.data if data.spec is not None and data.kind == kind)


def policy_of(event: Event) -> str | None:
    """The policy whose weights a step took up, or None."""
    name = event.content.get("start") or event.content.get("policy")
    if name is not None:
        return str(name)
    # Scaling scores what the base policy samples, and does not say so.
    if event.step == "scale":
        return BASE
    return None


def _wanted(facts: RunFacts, event: Event, name: str) -> bool:
    place, _, part = event.step.rpartition("/")
    # A later stage of a look measures before it asks people on: it reads what an audit reads.
    iteration, stage = stage_of(place)
    if stage > 1:
        part = "audit"
    grow = iteration.split("/")[0]
    # Every step takes its settings from the sealed plan.
    if name == PLAN:
        return True
    policy = policy_of(event)
    for made in facts.policies:
        if made.name == policy and name in made.weights:
            return part in (*RUNNING, "refit")
    if part in SCORING and _of_the_reward(facts, name, grow):
        return True
    if name == f"data/{SPLITS_READ.get(part)}.parquet":
        return True
    # A rule may name a file that this run does not have: `name` is always one that was recorded.
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
    # What people were asked and gave at earlier stages of this look.
    if part == "audit" and name.startswith(f"{iteration}/stage"):
        return True
    return name in exact.get(part, set())


def _of_the_reward(facts: RunFacts, name: str, grow: str) -> bool:
    if not name.startswith(REWARD):
        return False
    # Another step than the one that fits the reward writes the scale, so no reward's files list it.
    if name == f"{REWARD}scale.json":
        return True
    reward = facts.reward_for(grow)
    return reward is not None and name in reward.files
