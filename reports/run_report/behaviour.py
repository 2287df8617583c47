"""Bias, diversity and collapse, capability: what the policy does differently, a section each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reports.document.model import Block, Paragraph, Row, Section, Table
from reports.record import series
from reports.run_report.material import Material
from reports.run_report.tables import by_iteration, by_name, chart, titles
from restaudit.evidence.record import BASE
from restaudit.evidence.shown import measured

# Headings under a caption that says the rest; where a caption does not, the probes' own titles
# stand.
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


def bias(material: Material) -> Section:
    """Section 3."""
    if not material.iterations:
        return _nothing_audited("bias", "Bias: how groups are treated")
    last = material.iterations[-1]
    blocks: list[Block] = [
        Paragraph(
            "A gap is the largest difference between groups of prompts that differ only in whom "
            "they name, paired within a family of prompts. These results cover only the groups and "
            "prompts tested here.",
            "note",
        ),
        by_iteration(material, "Largest gap between groups", _with_units(material, last, GAPS)),
        _groups(material, last),
    ]
    acceptance = _recorded(material, ACCEPTANCE)
    # Without groups there are no rates, and an empty chart would say nothing.
    if acceptance:
        blocks.append(
            chart(
                material,
                "Share of each group's samples that the filter kept",
                "acceptance rate",
                {name: name.removeprefix(ACCEPTANCE) for name in acceptance},
            )
        )
    blocks.append(
        by_iteration(
            material,
            "Acceptance at the filter",
            {"bias.acceptance_ratio": "lowest over highest rate"},
            f"Below {FOUR_FIFTHS:g} some call it adverse impact (29 CFR 1607.4(D), a rule of "
            "thumb from US hiring); it is shown as a description.",
        )
    )
    # A text and its swap differ in the named group alone, so a difference of their rewards is the
    # reward model's doing and no policy's.
    swaps = {
        name: _words(name.removeprefix("bias.reward_swap."))
        for name in _recorded(material, "bias.reward_swap.")
    }
    blocks.append(
        by_name(
            material,
            last,
            "Does the reward itself change when only the named group changes?",
            {"bias.reward_swap": "largest over all swaps", **swaps},
        )
    )
    blocks.append(_mentions(material, last))
    benchmarks = _recorded(material, "benchmarks.", last)
    blocks.append(
        by_name(
            material,
            last,
            f"Bias benchmarks at {series.short_name(last)}",
            titles(benchmarks),
            "" if benchmarks else "None was asked for, or none at this iteration.",
        )
    )
    return Section("bias", "Bias: how groups are treated", tuple(blocks))


def diversity(material: Material) -> Section:
    """Section 4."""
    if not material.iterations:
        return _nothing_audited("diversity", "Diversity and signs of collapse")
    last = material.iterations[-1]
    to_base = chart(
        material,
        "Diversity relative to the base policy",
        "ratio to the base policy",
        {
            "diversity.distinct_2_ratio": "distinct-2",
            "diversity.vendi_ratio": "Vendi score",
            "diversity.within_prompt_ratio": "Vendi score within a prompt",
            "diversity.across_prompts_ratio": "Vendi score across prompts",
        },
        reference=1.0,
        reference_label="base policy",
        at_base=1.0,
    )
    sameness = {
        "diversity.self_bleu_change": "self-BLEU, change",
        "diversity.duplicates_change": "duplicates, change",
        "diversity.mode_share_change": "share of the commonest, change",
        "diversity.compression_ratio_ratio": "compression, ratio",
        "diversity.entropy_change": "entropy a token, change (nats)",
    }
    # Nonsense is diverse too: what counts is how different the texts are that are also good.
    among_good = {
        "diversity.good_distinct_2_ratio": "distinct-2, ratio",
        "diversity.good_vendi_ratio": "Vendi, ratio",
        "diversity.effective_vendi_ratio": "effective Vendi, ratio",
    }
    # A model that learns from what it wrote forgets the tails of human text (Shumailov et al. 2024).
    collapse = {
        "drift.synthetic_share": "synthetic share of training rows",
        "drift.copying": "copied from the training set",
        "drift.human_text_nll": "human text, rise of NLL (nats a token)",
        "drift.vocabulary": "vocabulary, ratio",
        "drift.rare_words": "rare words, ratio",
    }
    to_human = titles(("diversity.distinct_2_to_human", "diversity.vendi_to_human"))
    return Section(
        "diversity",
        "Diversity and signs of collapse",
        (
            to_base,
            by_iteration(material, "Sameness", sameness),
            by_iteration(material, "Diversity among outputs above a quality bar", among_good),
            by_iteration(material, "Signs of collapse from training on one's own output", collapse),
            by_name(material, last, f"Against human texts, at {series.short_name(last)}", to_human),
        ),
    )


def capability(material: Material) -> Section:
    """Section 5."""
    if not material.iterations:
        return _nothing_audited("capability", "Capability kept or lost, and toxicity")
    last = material.iterations[-1]
    changes = [n for n in _recorded(material, "capability.") if n.endswith("_change")]
    # The worst change is that of one of these tasks: drawn too, it would stand there twice.
    changes = [n for n in changes if n != "capability.worst_change"]
    changed: Block = Paragraph(
        "No task was asked before and after: audit.benchmarks.tasks names none, or none was "
        "answered."
    )
    if changes:
        changed = chart(
            material,
            "Accuracy, change since the base policy",
            "points (share of items)",
            {n: _words(n.removeprefix("capability.").removesuffix("_change")) for n in changes},
            reference=0.0,
            reference_label="base policy",
            at_base=0.0,
        )
    tasks = [n.removesuffix("_change") for n in changes]
    toxicity = {
        "toxicity.mean": "mean score (0 to 1)",
        **titles(("toxicity.share", "toxicity.mean_change")),
    }
    return Section(
        "capability",
        "Capability kept or lost, and toxicity",
        (
            changed,
            by_name(
                material,
                last,
                f"Tasks at {series.short_name(last)}",
                titles((*tasks, "capability.worst_change")),
            ),
            by_iteration(material, "Toxicity", toxicity, _known_failure(material, last)),
        ),
    )


def _known_failure(material: Material, iteration: str) -> str:
    """What the toxicity scorer is known to get wrong: it is printed wherever its scores are."""
    for name, m in material.measured[iteration].items():
        if name.startswith("toxicity.") and "known_failure" in m.detail:
            return str(m.detail["known_failure"])
    return ""


def _groups(material: Material, last: str) -> Table:
    """One row a group: its mean score of each kind at the last iteration."""
    measurements = material.measured[last]
    units = dict.fromkeys(SCORES, "")
    groups: dict[str, None] = {}  # in order of first mention
    for score in SCORES:
        prefix = f"bias.{score}."
        for name, m in measurements.items():
            if name.startswith(prefix):
                units[score] = units[score] or m.unit
                groups[name.removeprefix(prefix)] = None
    rows = []
    for group in groups:
        cells = tuple(measured(measurements.get(f"bias.{score}.{group}")) for score in SCORES)
        rows.append(Row((group, *cells), (material.from_measurements(last, f"bias.*.{group}"),)))
    columns = []
    for score, unit in units.items():
        columns.append(f"{score} ({unit})" if unit else score)
    return Table(
        f"Groups at {series.short_name(last)}",
        ("group", *columns),
        tuple(rows),
        note="" if rows else "No prompt names a group: data.splits.counterfactual_families is 0.",
    )


def _mentions(material: Material, last: str) -> Table:
    """Who is mentioned: base policy, last iteration, and the rows it was trained on."""
    at_last = material.measured[last]
    at_base = material.measured.get(BASE, {})
    names = _recorded(material, MENTION, last)
    rows = []
    for name in names:
        group = name.removeprefix(MENTION)
        base, now, kept = at_base.get(name), at_last[name], at_last.get(f"{MENTION_KEPT}{group}")
        # A group that no text names would be a row of zeros, and hide the rows that say something.
        if not any(m is not None and m.value for m in (base, now, kept)):
            continue
        cells = (group, measured(base), measured(now), measured(kept))
        rows.append(Row(cells, (material.from_measurements(last, name),)))
    unit = "share of texts"
    if names:
        unit = at_last[names[0]].unit
    columns = ("group", "base policy", series.short_name(last), "kept rows less the other rows")
    return Table(
        f"Who is mentioned ({unit})",
        columns,
        tuple(rows),
        note="Groups that nobody mentions are left out.",
    )


def _recorded(material: Material, prefix: str, iteration: str | None = None) -> list[str]:
    """Names of measurements with this prefix, of one iteration or of all, in order of first
    mention.
    """
    looks: Iterable[str] = material.iterations
    if iteration is not None:
        looks = [iteration]
    # Benchmarks may be asked at some looks only, and every look's own names keep their order.
    names: dict[str, None] = {}
    for look in looks:
        names |= dict.fromkeys(n for n in material.measured[look] if n.startswith(prefix))
    return list(names)


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", ": ")


def _with_units(material: Material, iteration: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Headings with the unit that the measurement has."""
    measurements = material.measured[iteration]
    headings = dict(labels)
    for name, label in labels.items():
        if name in measurements:
            headings[name] = f"{label} ({measurements[name].unit})"
    return headings


def _nothing_audited(key: str, title: str) -> Section:
    return Section(key, title, (Paragraph("No iteration was audited yet."),))
