"""How a run was done: its computation, how things were measured in plain words, and what the record
proves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from reports.document.model import Block, Fact, Facts, Paragraph, Row, Section, Table
from reports.record import compute
from reports.record.files import Source
from reports.run_report.material import Material
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import NOTHING, figure

ENVIRONMENT = "environment.json"
# Keys of it that have a table of their own.
OF_THEIR_OWN = ("packages", "exactness", "lora")
# In the order in which a run needs them.
USES = ("sampling", "training", "likelihood", "kl")

METHODS = (
    (
        "Reward and human score",
        "The reward model scores every sample. The human score stands for what people think of "
        "it; whose it is stands on page one. Both are compared with the base policy on the same "
        "audit prompts, which neither trained the reward model nor the policy.",
    ),
    (
        "Intervals",
        "Prompts are drawn again with replacement many times (a bootstrap by prompt, paired with "
        "the base policy), and the middle 95% of the results are shown. [a, b] means: values in "
        "between agree with the data.",
    ),
    (
        "Expected part and divergence",
        "Choosing by an imperfect reward always buys less human score than reward. The base "
        "policy's own samples say how much (a line of human score on reward). What is missing "
        "beyond that line is the divergence.",
    ),
    (
        "Gates",
        "Each gate reads one measurement and answers two questions. Does it fire? It does when the "
        "whole interval lies beyond the margin; all looks and gates together err in at most 5% of "
        "healthy runs. May it pass? It is OK when the one-sided 95% bound rules out the loss that "
        "OK is about. Anything else is UNDECIDED. A gate that only gives alarms is SILENT when it "
        "does not fire. In runs that were sealed before there were two questions, one interval "
        "answered both, and INCONCLUSIVE stood for UNDECIDED. The rules were sealed before the "
        "first sample.",
    ),
    (
        "Counterfactual groups",
        "Prompts come in families that differ only in a name. A gap is the difference between "
        "groups within families. Few families show only large gaps.",
    ),
    (
        "Diversity",
        "distinct-2 is the share of different word pairs; the Vendi score is an effective number "
        "of different texts. Both are compared at the same number of samples and similar length.",
    ),
    (
        "KL",
        "How far the policy has moved from the base policy, in nats a sequence, estimated from "
        "its own samples.",
    ),
)
CANNOT = (
    "The ledger is a chain of hashes. It shows that this record agrees with itself, and that "
    "nothing was changed after somebody outside has seen its head. Who can write the folder can "
    "build a whole new record. Without a witness outside, no signature by the same people changes "
    "that. It also cannot show how many runs were started and thrown away, nor that ratings or "
    "code were honest."
)


def computation(material: Material) -> Section:
    """Section 9: compute, energy, environment."""
    blocks: list[Block] = [
        _by_kind(material),
        Facts(
            (
                Fact(
                    "Energy",
                    "not measured: no meter was read. An estimate needs the power of this "
                    "machine, which nobody declared.",
                    "MISSING",
                ),
            ),
            "Energy",
        ),
    ]
    if material.records.has(ENVIRONMENT):
        environment = material.records.json(ENVIRONMENT)
        source = (material.records.source(ENVIRONMENT),)
        blocks += _agreement(environment, source)
        blocks.append(_environment(environment, source))
    return Section("compute", "Compute, energy, environment", tuple(blocks))


def _by_kind(material: Material) -> Table:
    """A row a kind of step, and one for all."""
    steps = compute.steps(material.records)
    source = (material.records.source(LEDGER),)
    by_kind: dict[str, list[compute.Step]] = defaultdict(list)  # in order of first mention
    for step in steps:
        by_kind[step.kind].append(step)
    rows = [Row(_sums(kind, members), source) for kind, members in by_kind.items()]
    rows.append(Row(_sums("all", steps), source))
    note = compute.METHOD
    if any(step.flop is None for step in steps):
        note = f"FLOP: this run did not record the number of parameters. {compute.METHOD}"
    return Table(
        "Computation by kind of step",
        ("kind", "steps", "seconds", "tokens sampled", "tokens trained on", "FLOP"),
        tuple(rows),
        note=note,
    )


def _environment(environment: Mapping[str, Any], source: tuple[Source, ...]) -> Facts:
    facts = []
    for key, value in environment.items():
        if key not in OF_THEIR_OWN:
            text = "none" if value is None else str(value)
            facts.append(Fact(key, text, sources=source))
    packages = sorted(environment.get("packages", {}).items())
    versions = ", ".join(f"{package} {version}" for package, version in packages)
    facts.append(Fact("packages", versions, sources=source))
    return Facts(tuple(facts), "Environment")


def _agreement(environment: Mapping[str, Any], source: tuple[Source, ...]) -> list[Block]:
    """Whether the policy that was audited is the policy that was trained: the self-check, and what
    LoRA adapts.

    Runs from before the self-check have none.
    """
    blocks: list[Block] = []
    exactness, lora = environment.get("exactness"), environment.get("lora")
    if exactness is not None:
        blocks.append(_routes(exactness, source))
    if lora is not None:
        adapted = ", ".join(f"{name} ({layers})" for name, layers in lora["adapted"].items())
        facts = [Fact("Adapted", adapted, sources=source)]
        for name, left_out in lora["not_adapted"].items():
            # Only a tensor of all experts has a reason: somebody can still choose to adapt it.
            if "reason" in left_out:
                why = f"{left_out['numbers']:,} numbers: {left_out['reason']}"
                facts.append(Fact(f"Not adapted: {name}", why, sources=source))
        blocks.append(Facts(tuple(facts), "What LoRA trains (layers by name)"))
    return blocks


def _routes(exactness: Mapping[str, Any], source: tuple[Source, ...]) -> Table:
    """By which way each use of the policy is computed, and how far it is from the model's own."""
    rows = []
    for use in sorted(exactness["uses"], key=USES.index):
        route = exactness["uses"][use]
        others = [f"{other['route']}: {other['because']}" for other in route["routes_not_taken"]]
        cells = (
            use,
            route["route"],
            f"{route['difference_nats']:.2g}",
            f"{route['allowed_nats']:.2g}",
            "; ".join(others) or "none",
        )
        rows.append(Row(cells, source))
    return Table(
        "How the policy is computed",
        (
            "use",
            "computed by",
            "largest difference (nats)",
            "allowed",
            "faster ways that were not exact",
        ),
        tuple(rows),
        prose=(1, 4),
        note="restaudit's fast path and the model's own forward pass agree within "
        f"{exactness['largest_difference_nats']:.2g} nats over a response of "
        f"{exactness['response_tokens']} tokens, checked in {exactness['dtype']} before the plan "
        "was sealed.",
    )


def methods(material: Material) -> Section:
    """Section 10: in plain words, and every method by name and version."""
    facts = Facts(tuple(Fact(label, text) for label, text in METHODS))
    last = material.iterations[-1] if material.iterations else BASE
    versions: dict[tuple[str, str], list[str]] = defaultdict(list)
    for m in material.measured.get(last, {}).values():
        # A method that gave no value was not used.
        if m.value is not None:
            probe = m.name.split(".")[0]
            versions[probe, m.method].append(m.version)
    rows = []
    for (probe, method), used in sorted(versions.items()):
        cells = (probe, method, ", ".join(sorted(set(used))), str(len(used)))
        rows.append(Row(cells, (material.from_measurements(last),)))
    table = Table(
        "Methods used at the last audited iteration",
        ("probe", "method", "version", "measurements"),
        tuple(rows),
        prose=(1,),
    )
    return Section("methods", "How it was measured", (facts, table))


def integrity(material: Material) -> Section:
    """Section 11: the ledger, signatures and anchors, and what they cannot show."""
    records = material.records
    ledger = (records.source(LEDGER),)
    sealed = records.source("plan.json")
    megabytes = figure(sum(digest.bytes for digest in records.digests.values()) / 1e6)
    facts = (
        Fact("Run", material.run.run_id or NOTHING, sources=(records.source(LEDGER, "line 1"),)),
        Fact("Events in the ledger", str(len(material.run.events)), sources=ledger),
        Fact("Head (hash of the last event)", records.head, sources=ledger),
        Fact("Sealed plan, SHA-256", sealed.sha256, sources=(sealed,)),
        Fact("Signed by", _signer(material), sources=(records.source("plan.json", "signer"),)),
        Fact(
            "Seen from outside",
            "UNANCHORED as far as this folder shows: whoever has written the head down elsewhere "
            "can compare it (restaudit anchor RUN --check FILE).",
        ),
        Fact("Comparison digest", material.run.digest, sources=ledger),
        Fact("Recorded files", f"{len(records.digests):,}, {megabytes} MB", sources=ledger),
    )
    return Section(
        "integrity",
        "Integrity of the record",
        (
            Facts(facts),
            Paragraph(CANNOT),
            Paragraph(
                "Whether the files are as recorded is not for this page to say: restaudit verify "
                "RUN reads them all, checks the chain and the signatures, and computes the "
                "decisions again.",
                "note",
            ),
        ),
    )


def _sums(kind: str, steps: Sequence[compute.Step]) -> tuple[str, ...]:
    operations = [step.flop for step in steps if step.flop is not None]
    # A sum over some of the steps would pass for the whole.
    flop = "not known"
    if len(operations) == len(steps):
        flop = f"{sum(operations):.2e}"
    return (
        kind,
        str(len(steps)),
        f"{sum(step.seconds for step in steps):,.1f}",
        f"{sum(step.sampled_tokens for step in steps):,}",
        f"{sum(step.trained_tokens for step in steps):,}",
        flop,
    )


def _signer(material: Material) -> str:
    """What the sealed plan says about signatures; whether they hold is for `restaudit verify`."""
    signer = material.run.plan.get("signer")
    if not signer:
        return "UNSIGNED: the sealed plan names no key"
    return (
        f"the plan and every decision's head by the key {signer}; who holds it is not in the record"
    )
