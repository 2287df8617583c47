"""The methods a recipe may be trained by: each is a set of defaults for the `loop` section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METHODS: Mapping[str, Mapping[str, Any]] = {
    # Gulcehre et al. 2023, arXiv 2308.08998: the defaults of the loop are ReST's own.
    "rest": {},
    # Singh et al. 2023, arXiv 2312.06585: no D in the mixture, every iteration fine-tunes the base
    # policy, binary reward, one Improve per Grow, at most 10 kept samples a prompt, top-k 40, T =
    # 0.7.
    "rest_em": {
        "improve_steps": 1,
        "include_references": False,
        "start_from": "base",
        "keep_per_prompt": 10,
        "binary_reward_above": 0.5,
        "thresholds": {"kind": "fixed", "values": [0.5]},
        "sampling": {"temperature": 0.7, "top_k": 40},
    },
    # Dong et al. 2023, arXiv 2304.06767: one Improve per Grow on the best sample of each prompt.
    "raft": {
        "improve_steps": 1,
        "include_references": False,
        "thresholds": {"kind": "top", "keep": 1},
    },
    # No training at all: the audit sees the best of N samples by reward.
    "best_of_n": {"grow_steps": 1, "improve_steps": 0, "include_references": False},
    # Rafailov et al. 2023, arXiv 2305.18290, on pairs of the policy's own samples, drawn again at
    # every Grow step.
    "dpo": {"improve_steps": 1, "include_references": False},
    # Online RL: every optimiser step samples anew.
    "grpo": {"improve_steps": 1, "include_references": False},
    "rloo": {"improve_steps": 1, "include_references": False},
    # Somebody else's trainer, audited by restaudit.trainers.AuditCallback or `restaudit watch`.
    "outside": {"improve_steps": 1, "include_references": False},
}


def apply_method(raw: dict[str, Any]) -> dict[str, Any]:
    """Fill the `loop` section with its method's values where the config gives none."""
    loop = raw.get("loop")
    if not isinstance(loop, dict):
        return raw
    defaults = METHODS.get(str(loop.get("method", loop.get("preset", "rest"))), {})
    return {**raw, "loop": _fill(loop, defaults)}


def with_method(raw: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The same recipe trained by another method: what the method defines replaces what the recipe
    says of it.
    """
    loop = {k: v for k, v in dict(raw.get("loop") or {}).items() if k != "preset"}
    return {**raw, "loop": {**_fill(METHODS.get(method, {}), loop), "method": method}}


def _fill(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(given)
    for key, value in defaults.items():
        if key not in out:
            out[key] = value
        elif isinstance(value, Mapping) and isinstance(out[key], Mapping) and "kind" not in value:
            out[key] = _fill(out[key], value)
    return out
