"""What it took, how things were measured, and what the record proves: compute, methods,
integrity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.document.model import Block, Fact, Facts, Paragraph, Row, Section, Table
from reports.record import compute
from reports.record.files import Source
from reports.run_report.material import Material
from restaudit.evidence.ledger import FILE as LEDGER
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import NOTHING, figure

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
        "Each gate reads one measurement. It is broken when its whole interval lies beyond the "
        "margin, it is OK when the whole interval lies on the right side, and anything else is "
        "INCONCLUSIVE. The rules were sealed before the first sample; looking at every iteration "
        "is paid for by wider intervals.",
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
        (
            "How far the policy has moved from the base policy, in nats a sequence, estimated from "
            "its own samples."
        ),
    ),
)
CANNOT = (
    "The ledger is a chain of hashes. It shows that this record agrees with itself, and that "
    "nothing was changed after somebody outside has seen its head. Who can write the folder can "
    "build a whole new record. Without a witness outside, no signature by the same people changes "
    "that. It also cannot show how many runs were started and thrown away, nor that ratings or "
    "code were honest."
)


def took(of: Material) -> Section:
    """Section 9: compute, energy, environment."""
    steps = compute.steps(of.records)
    here = (of.records.source(LEDGER),)
    kinds = dict.fromkeys(s.kind for s in steps)
    parts = [(kind, [s for s in steps if s.kind == kind]) for kind in kinds]
    rows = [Row(_sums(kind, mine), here) for kind, mine in [*parts, ("all", steps)]]
    known = all(s.flop is not None for s in steps)
    blocks: list[Block] = [
        Table(
            "Computation by kind of step",
            ("kind", "steps", "seconds", "tokens sampled", "tokens trained on", "FLOP"),
            tuple(rows),
            note=compute.METHOD
            if known
            else f"FLOP: this run did not record the number of parameters. {compute.METHOD}",
        ),
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
    if of.records.has("environment.json"):
        found = of.records.json("environment.json")
        source = (of.records.source("environment.json"),)
        blocks += _agreement(found, source)
        said = [(k, v) for k, v in found.items() if k not in ("packages", "exactness", "lora")]
        packages = ", ".join(f"{k} {v}" for k, v in sorted(found.get("packages", {}).items()))
        facts = [Fact(k, str(v) if v is not None else "none", sources=source) for k, v in said]
        facts.append(Fact("packages", packages, sources=source))
        blocks.append(Facts(tuple(facts), "Environment"))
    return Section("compute", "Compute, energy, environment", tuple(blocks))


def _agreement(found: Mapping[str, Any], source: tuple[Source, ...]) -> list[Block]:
    """Whether the policy that was audited is the policy that was trained: the self-check, and what
    LoRA adapts.

    Runs from before the self-check have none.
    """
    blocks: list[Block] = []
    if (exact := found.get("exactness")) is not None:
        agree = (
            "restaudit's fast path and the model's own forward pass agree within "
            f"{exact['largest_difference_nats']:.2g} nats over a response of "
            f"{exact['response_tokens']} tokens, "
            f"checked in {exact['dtype']} before the plan was sealed."
        )
        rows = []
        for use in sorted(exact["uses"], key=USES.index):
            one = exact["uses"][use]
            others = "; ".join(f"{r['route']}: {r['because']}" for r in one["routes_not_taken"])
            figures = (f"{one['difference_nats']:.2g}", f"{one['allowed_nats']:.2g}")
            rows.append(Row((use, one["route"], *figures, others or "none"), source))
        columns = (
            "use",
            "computed by",
            "largest difference (nats)",
            "allowed",
            "faster ways that were not exact",
        )
        blocks.append(
            Table("How the policy is computed", columns, tuple(rows), prose=(1, 4), note=agree)
        )
    if (lora := found.get("lora")) is not None:
        left = {name: row for name, row in lora["not_adapted"].items() if "reason" in row}
        facts = [
            Fact(
                "Adapted",
                ", ".join(f"{k} ({n})" for k, n in lora["adapted"].items()),
                sources=source,
            )
        ]
        for name, row in left.items():
            said = f"{row['numbers']:,} numbers: {row['reason']}"
            facts.append(Fact(f"Not adapted: {name}", said, sources=source))
        blocks.append(Facts(tuple(facts), "What LoRA trains (layers by name)"))
    return blocks


def methods(of: Material) -> Section:
    """Section 10: in plain words, and every method by name and version."""
    facts = Facts(tuple(Fact(label, text) for label, text in METHODS))
    last = of.iterations[-1] if of.iterations else BASE
    used: dict[tuple[str, str], list[str]] = {}
    for m in of.measured.get(last, {}).values():
        if m.value is not None:
            used.setdefault((m.name.split(".")[0], m.method), []).append(m.version)
    rows = tuple(
        Row(
            (probe, method, ", ".join(sorted(set(versions))), str(len(versions))),
            (of.from_measurements(last),),
        )
        for (probe, method), versions in sorted(used.items())
    )
    table = Table(
        "Methods used at the last audited iteration",
        ("probe", "method", "version", "measurements"),
        rows,
        prose=(1,),
    )
    return Section("methods", "How it was measured", (facts, table))


def integrity(of: Material) -> Section:
    """Section 11: the ledger, signatures and anchors, and what they cannot show."""
    events = of.run.events
    facts = [
        Fact("Run", of.run.run_id or NOTHING, sources=(of.records.source(LEDGER, "line 1"),)),
        Fact("Events in the ledger", str(len(events)), sources=(of.records.source(LEDGER),)),
        Fact(
            "Head (hash of the last event)", of.records.head, sources=(of.records.source(LEDGER),)
        ),
        Fact(
            "Sealed plan, SHA-256",
            of.records.source("plan.json").sha256,
            sources=(of.records.source("plan.json"),),
        ),
        Fact("Signed by", _signer(of), sources=(of.records.source("plan.json", "signer"),)),
        Fact(
            "Seen from outside",
            "UNANCHORED as far as this folder shows: whoever has written the head down elsewhere "
            "can compare it (restaudit anchor RUN --check FILE).",
        ),
        Fact("Comparison digest", of.run.digest, sources=(of.records.source(LEDGER),)),
        Fact(
            "Recorded files",
            f"{len(of.records.digests):,}, "
            f"{figure(sum(d.bytes for d in of.records.digests.values()) / 1e6)} MB",
            sources=(of.records.source(LEDGER),),
        ),
    ]
    return Section(
        "integrity",
        "Integrity of the record",
        (
            Facts(tuple(facts)),
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
    flop = [s.flop for s in steps]
    known = "not known" if None in flop else f"{sum(f for f in flop if f is not None):.2e}"
    return (
        kind,
        str(len(steps)),
        f"{sum(s.seconds for s in steps):,.1f}",
        f"{sum(s.sampled_tokens for s in steps):,}",
        f"{sum(s.trained_tokens for s in steps):,}",
        known,
    )


def _signer(of: Material) -> str:
    """What the sealed plan says about signatures; whether they hold is for `restaudit verify`."""
    signer = of.run.plan.get("signer")
    if not signer:
        return "UNSIGNED: the sealed plan names no key"
    return (
        f"the plan and every decision's head by the key {signer}; who holds it is not in the record"
    )
