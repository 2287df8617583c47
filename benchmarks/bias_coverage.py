"""How often the 95% intervals of the bias probe hold the truth, on made-up data with a known
answer.

python -m benchmarks.bias_coverage [--runs 400]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from probes import Evidence, Measurement
from probes.base import Array
from probes.bias import probe as bias
from probes.texts.word_lists import sentiment

REFUSAL, ANSWER = "I'm sorry, but I can't help with that.", "Here is a review."
Text = Callable[[np.random.Generator, int, float], str]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--runs", type=int, default=400)
    runs = args.parse_args().runs
    for design in (refusal, sentiment_gap, mention, swap, acceptance):
        for what, found in design(runs):
            held = [i for i in found if i is not None]
            print(
                f"{what:64} covered {np.mean(held):.3f}   without an interval "
                f"{len(found) - len(held)} of {runs}"
            )


def holds(evidence: Evidence, name: str, truth: float) -> bool | None:
    m = next(m for m in bias.run(evidence) if m.name == name)
    i = interval(m)
    return None if i is None else i[0] <= truth <= i[1]


def interval(m: Measurement) -> tuple[float, float] | None:
    found = m.interval(0.95)
    return None if found is None else (found.low, found.high)


def families(rng: np.random.Generator, count: int, groups: int, text: Text) -> pd.DataFrame:
    rows = []
    for f in range(count):
        level = rng.normal()
        rows += [
            (f"f{f}-{g}", f"f{f}-{g}/0", text(rng, g, level), 10, f"f{f}", f"g{g}")
            for g in range(groups)
        ]
    return pd.DataFrame(
        rows, columns=["prompt_id", "sample_id", "text", "n_tokens", "family", "group"]
    )


def refusal(runs: int) -> Iterable[tuple[str, list[bool | None]]]:
    for rates in ([0.05] * 4, [0.3] * 4, [0.5, 0.1, 0.1, 0.1], [0.3, 0.1]):

        def text(rng: np.random.Generator, g: int, _: float, rates: Sequence[float] = rates) -> str:
            return REFUSAL if rng.random() < rates[g] else ANSWER

        for count in (6, 12, 40):
            found = []
            for run in range(runs):
                table = families(np.random.default_rng(run), count, len(rates), text)
                given = Evidence(outputs=table, seed=run, only=frozenset({"bias.refusal_gap"}))
                found.append(holds(given, "bias.refusal_gap", max(rates) - min(rates)))
            yield f"refusal gap, rates {rates}, {count} families", found


def sentiment_gap(runs: int) -> Iterable[tuple[str, list[bool | None]]]:
    for shift in (0.0, 0.8):

        def text(rng: np.random.Generator, g: int, level: float, shift: float = shift) -> str:
            p = expit(0.8 * level + shift * (g == 0))
            return " ".join(
                ("good" if rng.random() < p else "bad") if rng.random() < 0.5 else "film"
                for _ in range(6)
            )

        rng = np.random.default_rng(9)
        ends = [
            sentiment([text(rng, g, rng.normal()) for _ in range(20000)])[0].mean() for g in (0, 1)
        ]
        truth = float(abs(ends[0] - ends[1])) if shift else 0.0
        for count in (6, 12, 40):
            found = []
            for run in range(runs):
                table = families(np.random.default_rng(run), count, 4, text)
                given = Evidence(outputs=table, seed=run, only=frozenset({"bias.sentiment_gap"}))
                found.append(holds(given, "bias.sentiment_gap", truth))
            yield f"sentiment gap of {truth:.2f}, 4 groups, {count} families", found


def mention(runs: int) -> Iterable[tuple[str, list[bool | None]]]:
    """A fifth of the texts mentions women, and those are rewarded by 0.8 more; what is above 0.8 is
    kept.
    """
    share, at = 0.2, 0.8
    in_them, elsewhere = norm.sf(at - 0.8), norm.sf(at)
    truth = {
        "bias.mention.women": share,
        "bias.mention_kept.women": share * in_them / (share * in_them + (1 - share) * elsewhere)
        - share,
    }
    for name, value in truth.items():
        for prompts in (12, 30):
            found = []
            for run in range(runs):
                rng = np.random.default_rng(run)
                rows = []
                for p, often in enumerate(rng.beta(1, 4, size=prompts)):
                    for k in range(8):
                        women = rng.random() < often
                        text = "She ran." if women else "It ran."
                        rows.append(
                            (f"p{p}", f"p{p}/{k}", text, 3, rng.normal() + 0.8 * women > at)
                        )
                table = pd.DataFrame(
                    rows, columns=["prompt_id", "sample_id", "text", "n_tokens", "kept"]
                )
                given = Evidence(outputs=table, grow=table, seed=run, only=frozenset({name}))
                found.append(holds(given, name, value))
            yield f"{name}, truth {value:.2f}, {prompts} prompts of 8 texts", found


def swap(runs: int) -> Iterable[tuple[str, list[bool | None]]]:
    """Two rules find something in every text: gender, for which the reward model may pay, and age,
    for which not.
    """
    for name in ("bias.reward_swap", "bias.reward_swap.gender"):
        for pays in (0.0, 0.3):
            for prompts in (10, 24, 48):
                found = [holds(_swapped(run, prompts, pays), name, pays) for run in range(runs)]
                yield f"{name}, truth {pays}, {prompts} prompts of 2 texts", found


def _swapped(run: int, prompts: int, pays: float) -> Evidence:
    rng = np.random.default_rng(run)
    rewards: dict[str, float] = {}
    rows = []
    for p in range(prompts):
        of_prompt = rng.normal(0, 0.3)
        for k in range(2):
            what = f"sang p{p} k{k}."
            rewards[f"The young man {what}"] = 0.0
            rewards[f"The young woman {what}"] = pays + of_prompt + rng.normal(0, 0.5)
            for who in ("man", "woman"):
                rewards[f"The old {who} {what}"] = rewards[f"The young {who} {what}"] + rng.normal(
                    0, 0.5
                )
            rows.append(
                (f"p{p}", f"p{p}/{k}", f"The young {rng.choice(['man', 'woman'])} {what}", 5)
            )
    table = pd.DataFrame(rows, columns=["prompt_id", "sample_id", "text", "n_tokens"])

    def score(_: Sequence[str], texts: Sequence[str]) -> Array:
        return np.array([rewards[t] for t in texts])

    prompt_texts = dict.fromkeys(table["prompt_id"], "Write.")
    only = frozenset({"bias.reward_swap", "bias.reward_swap."})
    return Evidence(outputs=table, prompts=prompt_texts, score=score, seed=run, only=only)


def acceptance(runs: int) -> Iterable[tuple[str, list[bool | None]]]:
    for rates in ([0.2] * 4, [0.4, 0.2, 0.2, 0.2], [0.1, 0.1]):
        for count in (6, 12, 40):
            found = []
            for run in range(runs):
                rng = np.random.default_rng(run)
                one = families(rng, count, len(rates), lambda *_: "a")
                p = np.array([rates[int(g[1:])] for g in one["group"]])
                table = pd.concat(
                    [
                        one.assign(
                            sample_id=one["sample_id"] + str(k), kept=rng.random(len(one)) < p
                        )
                        for k in range(4)
                    ]
                )
                given = Evidence(
                    outputs=table, grow=table, seed=run, only=frozenset({"bias.acceptance_ratio"})
                )
                found.append(holds(given, "bias.acceptance_ratio", min(rates) / max(rates)))
            yield f"acceptance ratio, rates {rates}, {count} families of 4 samples", found


if __name__ == "__main__":
    main()
