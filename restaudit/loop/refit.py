"""Between Grow steps: the reward model is fitted again with people's fresh judgements of the newest
policy's texts.

The paper suggests it where the reward model is left behind by its policy (Gulcehre et al. 2023,
arXiv 2308.08998). What people judge are D_eval samples, never audit samples: a reward that learned
from the audit's own texts could not be audited by them. The sheet lies in the run's folder human/,
outside the record; the judgements that were used are in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from restaudit.config import RefitConfig, RowRules, TrainedReward
from restaudit.errors import BadInput, Waiting
from restaudit.evidence.record import (
    AUDIT,
    BASE,
    D_EVAL,
    RESCORED,
    RESCORED_FILE,
    REWARD,
    SCALE,
    Run,
    read_table,
    write_json,
    write_table,
)
from restaudit.files import plain
from restaudit.files.spreadsheet import csv_text
from restaudit.people.waiting import (
    ASKED,
    ASKED_FILE,
    GIVEN,
    judgements_missing,
    read_sheet,
    sheet_name,
)
from restaudit.reward.dossier import COMPUTE, read_any

if TYPE_CHECKING:
    from restaudit.evidence.steps import Content
    from restaudit.loop.job import Job

GIVEN_FILE, DIFF_FILE = "fresh.parquet", "diff.json"


def refit(job: Job, g: int, policy: str) -> None:
    """Before Grow g: ask for judgements of `policy`'s texts, fit the reward again, and use it from
    here on.

    Raises Waiting until every text on the sheet is judged. Does nothing where the configuration
    does not ask for it, and before the first Grow.
    """
    config = job.config.reward
    if not isinstance(config, TrainedReward) or config.refit is None or g == 1:
        return
    name, settings = f"g{g:02d}", config.refit

    def ask(out: Path) -> Content:
        table = _asked(job, policy, settings, name)
        write_table(table, out / ASKED_FILE, ASKED)
        return {"policy": policy, "texts": len(table)}

    def make(out: Path) -> Content:
        return _fitted(job, name, policy, out)

    job.step(f"{name}/refit/wait", name, ask)
    if not job.writer.has(f"{name}/refit"):
        _sheet(job.run, name)
        if (missing := judgements_missing(Run(job.run), name)) is not None:
            raise Waiting(missing)
    folder = f"{REWARD}/{name}"
    job.step(f"{name}/refit", folder, make, context=(f"{folder}/{COMPUTE}",))
    job.use_reward(name)


def check_refit(
    config: TrainedReward, d_eval_samples: int, d_eval: pd.DataFrame, rules: RowRules
) -> None:
    """Raise BadInput where D_eval cannot give as many different texts as people shall judge.

    Whether the samples differ nobody knows before they are drawn; that there are too few of them
    can be counted.
    """
    from restaudit.data.feedback import load_feedback

    assert config.refit is not None
    most, wanted = len(d_eval) * d_eval_samples, config.refit.samples
    if most < wanted:
        raise BadInput(
            f"reward.refit.samples is {wanted}, but {len(d_eval)} d_eval prompts with "
            f"{d_eval_samples} sample(s) each (loop.d_eval_samples) give at most {most} texts; "
            "give more of either, or fewer samples"
        )
    # A pair is two texts of one prompt. The data is read for this only where it can matter.
    if d_eval_samples == 1 and load_feedback(config.data, rules, ties=config.ties).kind == "pairs":
        raise BadInput(
            "reward.refit: a reward of pairs is fitted again on two texts of a prompt, but "
            "loop.d_eval_samples is 1; set it to 2 or more"
        )


def _asked(job: Job, policy: str, settings: RefitConfig, name: str) -> pd.DataFrame:
    """Distinct texts of the newest policy on D_eval prompts, drawn at random; for a reward of pairs
    two of a prompt.
    """
    rows = read_table(job.run, f"{policy}/d_eval.parquet", D_EVAL)
    rows = rows.drop_duplicates(["prompt_id", "text"])
    rows = rows[rows["text"].str.strip() != ""]
    compared = read_any(job.reward_folder)["data"]["kind"] == "pairs"
    if compared:
        rows = rows[rows.duplicated("prompt_id", keep=False)]
    if len(rows) < settings.samples:
        those = "of prompts that have at least two" if compared else "on D_eval"
        raise BadInput(
            f"reward.refit.samples is {settings.samples}, but {policy} has only {len(rows)} "
            f"different texts {those}; "
            "give more d_eval prompts or loop.d_eval_samples, or fewer samples"
        )
    rows = rows.sample(frac=1, random_state=job.seed(f"{name}/refit") % 2**32)
    if compared:
        rows = two_by_two(rows)
    drawn = rows.head(settings.samples).reset_index(drop=True)
    items = [f"{name}-{k:03d}" for k in range(len(drawn))]
    return drawn.assign(item_id=items, prompt=job.prompt_texts(drawn))[list(ASKED)]


def two_by_two(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` (column prompt_id) in an order in which the texts of one prompt come two by two:
    judgements of a text whose prompt has no other judged text make no pair. Prompts keep the order
    in which they first appear."""
    group = rows.groupby("prompt_id", sort=False)
    by = pd.DataFrame({"round": group.cumcount() // 2, "prompt": group.ngroup()}, index=rows.index)
    return rows.loc[by.sort_values(["round", "prompt"], kind="stable").index]


def _sheet(run: Path, name: str) -> None:
    """Write the empty sheet, unless there is one."""
    if plain.is_file(run, sheet_name(name)):
        return
    asked = read_table(run, f"{name}/{ASKED_FILE}", ASKED)
    rows = asked.assign(rater="", score="")[["item_id", "prompt", "text", "rater", "score"]]
    plain.write(run, sheet_name(name), csv_text(GIVEN, rows.to_numpy().tolist()).encode())


def _fitted(job: Job, name: str, policy: str, out: Path) -> Content:
    """Fit, and write beside the model: the judgements, the dossier's differences, a new scale, the
    base rescored.
    """
    from restaudit.reward import combine
    from restaudit.reward.dossier import differences
    from restaudit.reward.fresh_judgements import FreshJudgements
    from restaudit.reward.scale import Scale
    from restaudit.reward.trained import build_trained

    config = job.config.reward
    assert isinstance(config, TrainedReward)
    assert config.refit is not None
    asked = read_table(job.run, f"{name}/{ASKED_FILE}", ASKED)
    given = read_sheet(job.run, name, asked, config.refit).sort_values(["item_id", "rater"])
    used = given.merge(asked, on="item_id", validate="many_to_one").rename(
        columns={"text": "response"}
    )
    before = read_any(job.reward_folder)
    fresh = FreshJudgements(
        used[["prompt", "response", "rater", "score"]], policy, config.refit.scale, before["digest"]
    )
    reward = build_trained(
        config,
        out,
        rules=job.config.data.rows,
        device=job.device,
        seed=job.seed(f"{name}/refit"),
        fresh=fresh,
    )
    write_table(used, out / GIVEN_FILE, list(used.columns))
    changed = differences(before, read_any(out))
    write_json(
        {"before": before["digest"], "after": reward.digest, "by": [vars(d) for d in changed]},
        out / DIFF_FILE,
    )
    # From here on the base policy is scored by the new reward too: a difference of two rewards
    # would be no difference of two policies.
    base = read_table(job.run, f"{BASE}/audit.parquet", AUDIT)
    d_eval = read_table(job.run, f"{BASE}/d_eval.parquet", D_EVAL)
    rewards = combine(
        reward.score(job.prompt_texts(d_eval), d_eval["text"].tolist()), config.ensemble
    )[0]
    scale = Scale.fit(rewards)
    write_json(scale.to_json(), out / SCALE)
    value, spread = combine(
        reward.score(job.prompt_texts(base), base["text"].tolist()), config.ensemble
    )
    rescored = base.assign(reward=value, reward_01=scale.apply(value), reward_spread=spread)
    write_table(rescored[list(RESCORED)], out / RESCORED_FILE, RESCORED)
    return {
        "policy": policy,
        "judgements": len(used),
        "raters": used["rater"].nunique(),
        "before": before["digest"],
        "after": reward.digest,
        "facts_changed": len(changed),
        **_validated(before, read_any(out)),
    }


def _validated(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The headline of both validations."""
    headline = {}
    for when, facts in (("before", before), ("after", after)):
        values = {m["name"].removeprefix("validation."): m["value"] for m in facts["validation"]}
        name = next(n for n in ("pair_accuracy", "pearson") if n in values)
        headline[f"{name}_{when}"] = values[name]
    return headline
