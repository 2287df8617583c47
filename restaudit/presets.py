"""The relatives of ReST as presets of the same loop: each is a set of defaults that the config may still override."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Gulcehre et al. 2023, arXiv 2308.08998: the defaults of the loop are ReST's own.
    "rest": {},
    # Singh et al. 2023, arXiv 2312.06585: no D in the mixture, every iteration fine-tunes the base policy, binary
    # reward, one Improve per Grow, at most 10 kept samples a prompt, top-k 40, T = 0.7.
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
    "raft": {"improve_steps": 1, "include_references": False, "thresholds": {"kind": "top", "keep": 1}},
    # No training at all: the audit sees the best of N samples by reward.
    "best_of_n": {"grow_steps": 1, "improve_steps": 0, "include_references": False},
}


def apply_preset(raw: dict[str, Any]) -> dict[str, Any]:
    """Fill the `loop` section with the preset's values where the config gives none."""
    loop = raw.get("loop")
    if not isinstance(loop, dict):
        return raw
    preset = PRESETS.get(str(loop.get("preset", "rest")), {})
    return {**raw, "loop": _fill(loop, preset)}


def _fill(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(given)
    for key, value in defaults.items():
        if key not in out:
            out[key] = value
        elif isinstance(value, Mapping) and isinstance(out[key], Mapping) and "kind" not in value:
            out[key] = _fill(out[key], value)
    return out
