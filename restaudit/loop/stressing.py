"""The stress test of a run's reward, before anything is trained against it."""

from __future__ import annotations

from pathlib import Path

from restaudit.evidence.record import AUDIT, BASE, REWARD, read_table, write_json
from restaudit.evidence.steps import Content
from restaudit.loop.job import Job

FILE = "stress.json"
TEXTS = "the base policy's audited samples"


def stress_reward(job: Job) -> None:
    """Spoil the base policy's texts in ways that make none better, and record what the reward pays
    for; nothing where the configuration does not ask for it.
    """
    wanted = job.config.audit.reward_stress
    if wanted is None:
        return

    def make(out: Path) -> Content:
        from restaudit.reward_audit.stress import stress

        rows = read_table(job.run, f"{BASE}/audit.parquet", AUDIT)
        # People's ratings of the base policy come with the first look, so there are none yet.
        judged = bool(rows["human"].notna().any())
        report = stress(
            lambda prompts, texts: job.reward_of(list(prompts), list(texts)),
            job.prompt_texts(rows),
            rows["text"].tolist(),
            rows["human"].to_numpy(dtype=float) if judged else None,
            seed=job.seed("stress"),
            resamples=job.config.audit.resamples,
            most=wanted.texts,
            budget=wanted.budget,
        )
        about = {
            "reward_digest": job.reward.digest,
            "texts_are": TEXTS,
            "human_is": job.human.label if judged else None,
        }
        found = report.to_json()
        write_json({**found, **about}, out / FILE)
        said = ", ".join(f"{n} {verdict}" for verdict, n in found["counts"].items())
        job.reporter.line(f"  stress tests of the reward: {said}")
        return {"counts": found["counts"], "failures": len(report.failures)}

    job.step("stress", REWARD, make)
