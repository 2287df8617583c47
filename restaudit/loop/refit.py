"""Between Grow steps: the reward model is fitted again with people's fresh judgements of the newest
policy's texts.

The paper suggests it where the reward model is left behind by its policy (Gulcehre et al. 2023,
arXiv 2308.08998). What people judge are D_eval samples, never audit samples: a reward that learned
from the audit's own texts could not be audited by them. The sheet lies in the run's folder human/,
outside the record; the judgements that were used are in it.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from restaudit.config import RefitConfig, TrainedReward
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
from restaudit.reward.dossier import COMPUTE, read_any

if TYPE_CHECKING:
    from restaudit.evidence.steps import Content
    from restaudit.loop.job import Job

ASKED = ("item_id", "sample_id", "prompt_id", "prompt", "text")
GIVEN = ("item_id", "prompt", "response", "rater", "score")
ASKED_FILE, GIVEN_FILE, DIFF_FILE = "refit_asked.parquet", "fresh.parquet", "diff.json"
SHEETS = "human"


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
        if (missing := what_is_missing(Run(job.run), name)) is not None:
            raise Waiting(missing)
    folder = f"{REWARD}/{name}"
    job.step(f"{name}/refit", folder, make, context=(f"{folder}/{COMPUTE}",))
    job.use_reward(name)


def what_is_missing(record: Run, name: str) -> str | None:
    """What people still have to judge before the run goes on, and how; None where every text has a
    judgement.
    """
    path = _path(record.path, name)
    if not path.is_file():
        return (
            f"{path}: the sheet of {name}/refit is gone; restaudit resume {record.path} writes "
            "it again"
        )
    asked = read_table(record.path / name / ASKED_FILE, ASKED)
    missing = len(set(asked["item_id"]) - set(_read(path, asked, _settings(record))["item_id"]))
    if missing == 0:
        return None
    low, high = _settings(record).scale
    return "\n".join(
        [
            f"{record.path}: waits before Grow {int(name[1:])} for people's judgements of the "
            f"newest policy's texts: {missing} of {len(asked)} are missing",
            f"  the sheet:   {path}",
            (
                f"               fill in rater and score ({low:g} to {high:g}); a row a judgement, "
                "rows may be added"
            ),
            f"  then go on:  restaudit resume {record.path}",
        ]
    )


def _settings(record: Run) -> RefitConfig:
    return RefitConfig.model_validate(record.plan["config"]["reward"]["refit"])


def _asked(job: Job, policy: str, settings: RefitConfig, name: str) -> pd.DataFrame:
    """Distinct texts of the newest policy on D_eval prompts, drawn at random; for a reward of pairs
    two of a prompt.
    """
    rows = read_table(job.run / policy / "d_eval.parquet", D_EVAL).drop_duplicates(
        ["prompt_id", "text"]
    )
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
    drawn = (two_by_two(rows) if compared else rows).head(settings.samples).reset_index(drop=True)
    items = [f"{name}-{k:03d}" for k in range(len(drawn))]
    return drawn.assign(item_id=items, prompt=job.prompt_texts(drawn))[list(ASKED)]


def two_by_two(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` (column prompt_id) in an order in which the texts of one prompt come two by two:
    judgements of a text whose prompt has no other judged text make no pair. Prompts keep the order
    in which they first appear."""
    group = rows.groupby("prompt_id", sort=False)
    by = pd.DataFrame({"round": group.cumcount() // 2, "prompt": group.ngroup()}, index=rows.index)
    return rows.loc[by.sort_values(["round", "prompt"], kind="stable").index]


def _path(run: Path, name: str) -> Path:
    return run / SHEETS / f"refit-{name}.csv"


def _sheet(run: Path, name: str) -> None:
    """Write the empty sheet, unless there is one."""
    from restaudit.people.rating.formats.csv import guard

    path = _path(run, name)
    if path.exists():
        return
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(GIVEN)
    for row in read_table(run / name / ASKED_FILE, ASKED).itertuples():
        writer.writerow([row.item_id, guard(str(row.prompt)), guard(str(row.text)), "", ""])
    path.parent.mkdir(exist_ok=True)
    path.write_text("\ufeff" + out.getvalue(), encoding="utf-8", newline="")


def _read(path: Path, asked: pd.DataFrame, settings: RefitConfig) -> pd.DataFrame:
    """The judgements on the sheet: item_id, rater, score.

    Raises BadInput, with the row, for what cannot be one.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise BadInput(f"{path}: cannot be read ({e})") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if lacking := [c for c in ("item_id", "rater", "score") if c not in (reader.fieldnames or ())]:
        raise BadInput(
            f"{path}: lacks the column(s) {', '.join(lacking)}; expected {', '.join(GIVEN)}"
        )
    known, seen, found = set(asked["item_id"]), set(), []
    low, high = settings.scale
    for number, row in enumerate(reader, start=2):
        where, raw = f"{path}, row {number}", (row["score"] or "").strip()
        if not raw:
            continue
        item, rater = (row["item_id"] or "").strip(), (row["rater"] or "").strip()
        try:
            score = float(raw.replace(",", "."))
        except ValueError:
            raise BadInput(f"{where}: score {raw!r} is not a number") from None
        if item not in known:
            raise BadInput(f"{where}: {item!r} is not on the sheet that this run drew")
        if not rater:
            raise BadInput(f"{where}: a score without a rater; say who judged")
        if not low <= score <= high:
            raise BadInput(f"{where}: score {raw} is not on the scale ({low:g} to {high:g})")
        if (item, rater) in seen:
            raise BadInput(f"{where}: {rater} judged {item} twice")
        seen.add((item, rater))
        found.append((item, rater, score))
    return pd.DataFrame(found, columns=["item_id", "rater", "score"])


def _fitted(job: Job, name: str, policy: str, out: Path) -> Content:
    """Fit, and write beside the model: the judgements, the dossier's differences, a new scale, the
    base rescored.
    """
    from restaudit.reward import combine
    from restaudit.reward.dossier import differences
    from restaudit.reward.fresh_judgements import Fresh
    from restaudit.reward.scale import Scale
    from restaudit.reward.trained import build_trained

    config = job.config.reward
    assert isinstance(config, TrainedReward)
    assert config.refit is not None
    asked = read_table(job.run / name / ASKED_FILE, ASKED)
    given = _read(_path(job.run, name), asked, config.refit).sort_values(["item_id", "rater"])
    used = given.merge(asked, on="item_id", validate="many_to_one").rename(
        columns={"text": "response"}
    )
    before = read_any(job.reward_folder)
    fresh = Fresh(
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
    base = read_table(job.run / BASE / "audit.parquet", AUDIT)
    d_eval = read_table(job.run / BASE / "d_eval.parquet", D_EVAL)
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
    found = {}
    for when, facts in (("before", before), ("after", after)):
        values = {m["name"].removeprefix("validation."): m["value"] for m in facts["validation"]}
        name = next(n for n in ("pair_accuracy", "pearson") if n in values)
        found[f"{name}_{when}"] = values[name]
    return found
