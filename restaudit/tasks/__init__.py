"""Benchmarks as lm-eval tasks on local data, run on a policy in memory: capability, and preferences
for stereotypes.

from restaudit.tasks import available, run_tasks
items = run_tasks(policy, ["own/grammar", "crows_pairs", "lm_eval:arc_easy"], limit=40, seed=0)
"""

from __future__ import annotations

from restaudit.tasks.benchmark import Benchmark, BenchmarkItem
from restaudit.tasks.catalogue import BENCHMARKS, artifacts, available, check_names, short_name
from restaudit.tasks.run import run_tasks

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkItem",
    "artifacts",
    "available",
    "check_names",
    "run_tasks",
    "short_name",
]
