"""Bias, diversity and collapse, capability: what the policy does differently, a section each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reports.document.model import Block, Paragraph, Row, Section, Table
from reports.record import series
from reports.run_report.material import Material
from reports.run_report.tables import by_iteration, by_name, chart
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import measured

GAPS = {
    "bias.human_gap": "human score",
    "bias.reward_gap": "reward",
    "bias.sentiment_gap": "sentiment",
    "bias.toxicity_gap": "toxicity",
    "bias.refusal_gap": "refusal",
    "bias.length_gap": "length",
}
FOUR_FIFTHS = 0.8
MENTION, MENTION_KEPT, ACCEPTANCE = "bias.mention.", "bias.mention_kept.", "bias.acceptance."
SCORES = ("human", "reward", "sentiment", "toxicity", "refusal", "length")


def bias(of: Material) -> Section:
    """Section 3."""
    if not of.iterations:
        return _none("bias", "Bias: how groups are treated")
    last = of.iterations[-1]
    blocks: list[Block] = [
        Paragraph(
            "A gap is the largest difference between groups of prompts that differ only in whom "
            "they name, paired within a family of prompts. What was measured is measured harm to "
            "these groups on these prompts, and no more.",
            "note",
        ),
        by_iteration(of, "Largest gap between groups", _with_units(of, last, GAPS)),
        _groups(of, last),
    ]
    acceptance = _names(of, ACCEPTANCE)
    if acceptance:
        lines = {name: name.removeprefix(ACCEPTANCE) for name in acceptance}
        blocks.append(
            chart(
                of, "Share of each group's samples that the filter kept", "acceptance rate", lines
            )
        )
    blocks.append(
        by_iteration(
            of,
            "Acceptance at the filter",
            {"bias.acceptance_ratio": "lowest over highest rate"},
            f"Below {FOUR_FIFTHS:g} some call it adverse impact (29 CFR 1607.4(D), a rule of "
            "thumb from US hiring); it is shown as a description.",
        )
    )
    swaps = {
        n: _words(n.removeprefix("bias.reward_swap.")) for n in _names(of, "bias.reward_swap.")
    }
    blocks.append(
        by_name(
            of,
            last,
            "Does the reward itself change when only the named group changes?",
            {"bias.reward_swap": "largest over all swaps", **swaps},
        )
    )
    blocks.append(_mentions(of, last))
    benchmarks = {n: _words(n.removeprefix("benchmarks.")) for n in _names(of, "benchmarks.", last)}
    blocks.append(
        by_name(
            of,
            last,
            f"Bias benchmarks at {series.short_name(last)}",
            benchmarks,
            "" if benchmarks else "None was asked for, or none at this iteration.",
        )
    )
    return Section("bias", "Bias: how groups are treated", tuple(blocks))


def diversity(of: Material) -> Section:
    """Section 4."""
    if not of.iterations:
        return _none("diversity", "Diversity and signs of collapse")
    last = of.iterations[-1]
    ratios = {
        "diversity.distinct_2_ratio": "distinct-2",
        "diversity.vendi_ratio": "Vendi score",
        "diversity.within_prompt_ratio": "Vendi score within a prompt",
        "diversity.across_prompts_ratio": "Vendi score across prompts",
    }
    return Section(
        "diversity",
        "Diversity and signs of collapse",
        (
            chart(
                of,
                "Diversity relative to the base policy",
                "ratio to the base policy",
                ratios,
                reference=1.0,
                reference_label="base policy",
                at_base=1.0,
            ),
            by_iteration(
                of,
                "Sameness",
                {
                    "diversity.self_bleu_change": "self-BLEU, change",
                    "diversity.duplicates_change": "duplicates, change",
                    "diversity.mode_share_change": "share of the commonest, change",
                    "diversity.compression_ratio_ratio": "compression, ratio",
                    "diversity.entropy_change": "entropy a token, change (nats)",
                },
            ),
            by_iteration(
                of,
                "Diversity among outputs above a quality bar",
                {
                    "diversity.good_distinct_2_ratio": "distinct-2, ratio",
                    "diversity.good_vendi_ratio": "Vendi, ratio",
                    "diversity.effective_vendi_ratio": "effective Vendi, ratio",
                },
            ),
            by_iteration(
                of,
                "Signs of collapse from training on one's own output",
                {
                    "drift.synthetic_share": "synthetic share of training rows",
                    "drift.copying": "copied from the training set",
                    "drift.human_text_nll": "human text, rise of NLL (nats a token)",
                    "drift.vocabulary": "vocabulary, ratio",
                    "drift.rare_words": "rare words, ratio",
                },
            ),
            by_name(
                of,
                last,
                f"Against human texts, at {series.short_name(last)}",
                {
                    "diversity.distinct_2_to_human": "distinct-2 over that of human references",
                    "diversity.vendi_to_human": "Vendi over that of human references",
                },
            ),
        ),
    )


def capability(of: Material) -> Section:
    """Section 5."""
    if not of.iterations:
        return _none("capability", "Capability kept or lost, and toxicity")
    last = of.iterations[-1]
    tasks = [
        n
        for n in _names(of, "capability.")
        if n.endswith("_change") and n != "capability.worst_change"
    ]
    lines = {n: _words(n.removeprefix("capability.").removesuffix("_change")) for n in tasks}
    before = [n.removesuffix("_change") for n in tasks]
    known_failure = next(
        (
            str(m.detail["known_failure"])
            for m in of.measured[last].values()
            if m.name.startswith("toxicity.") and "known_failure" in m.detail
        ),
        "",
    )
    changed: Block = Paragraph(
        "No task was asked before and after: audit.benchmarks.tasks names none, or none was "
        "answered."
    )
    if tasks:
        changed = chart(
            of,
            "Accuracy, change since the base policy",
            "points (share of items)",
            lines,
            reference=0.0,
            reference_label="base policy",
            at_base=0.0,
        )
    toxicity = {
        "toxicity.mean": "mean score (0 to 1)",
        "toxicity.share": "share of texts above .5",
        "toxicity.mean_change": "change of the mean",
    }
    names = {
        **{n: _words(n.removeprefix("capability.")) for n in before},
        "capability.worst_change": "worst change",
    }
    return Section(
        "capability",
        "Capability kept or lost, and toxicity",
        (
            changed,
            by_name(of, last, f"Tasks at {series.short_name(last)}", names),
            by_iteration(of, "Toxicity", toxicity, known_failure),
        ),
    )


def _groups(of: Material, last: str) -> Table:
    """One row a group: its mean score of each kind at the last iteration."""
    groups = dict.fromkeys(
        n.split(".", 2)[2] for s in SCORES for n in of.measured[last] if n.startswith(f"bias.{s}.")
    )
    rows = []
    for group in groups:
        cells = tuple(measured(of.measured[last].get(f"bias.{s}.{group}")) for s in SCORES)
        rows.append(Row((group, *cells), (of.from_measurements(last, f"bias.*.{group}"),)))
    units = {
        s: next((m.unit for n, m in of.measured[last].items() if n.startswith(f"bias.{s}.")), "")
        for s in SCORES
    }
    columns = ("group", *(f"{s} ({u})" if u else s for s, u in units.items()))
    return Table(
        f"Groups at {series.short_name(last)}",
        columns,
        tuple(rows),
        note="" if rows else "No prompt names a group: data.splits.counterfactual_families is 0.",
    )


def _mentions(of: Material, last: str) -> Table:
    """Who is mentioned: base policy, last iteration, and the rows it was trained on."""
    rows = []
    for name in _names(of, MENTION, last):
        group = name.removeprefix(MENTION)
        now, kept = of.measured[last].get(name), of.measured[last].get(f"{MENTION_KEPT}{group}")
        base = of.measured[BASE].get(name) if BASE in of.measured else None
        if all(m is None or not m.value for m in (now, kept, base)):
            continue
        rows.append(
            Row(
                (group, measured(base), measured(now), measured(kept)),
                (of.from_measurements(last, name),),
            )
        )
    unit = next(
        (m.unit for n, m in of.measured[last].items() if n.startswith(MENTION)), "share of texts"
    )
    columns = ("group", "base policy", series.short_name(last), "kept rows less the other rows")
    return Table(
        f"Who is mentioned ({unit})",
        columns,
        tuple(rows),
        note="Groups that nobody mentions are left out.",
    )


def _names(of: Material, prefix: str, iteration: str | None = None) -> list[str]:
    """Names of measurements with this prefix, of one iteration or of all, in order of first
    mention.
    """
    looked: Iterable[str] = [iteration] if iteration is not None else of.iterations
    return list(dict.fromkeys(n for i in looked for n in of.measured[i] if n.startswith(prefix)))


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", ": ")


def _with_units(of: Material, iteration: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Headings with the unit that the measurement has."""
    found = of.measured[iteration]
    return {n: f"{label} ({found[n].unit})" if n in found else label for n, label in labels.items()}


def _none(key: str, title: str) -> Section:
    return Section(key, title, (Paragraph("No iteration was audited yet."),))
